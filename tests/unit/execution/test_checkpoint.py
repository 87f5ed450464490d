"""A stopped cell that goes on ends as if it had never been stopped; a checkpoint serves no other cell."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dia.datasets.victim_set import VictimSet
from dia.errors import AttackError, AttackInterrupted
from dia.execution.checkpoint import Checkpointer
from dia.execution.run_cell import fingerprint, run_cell
from dia.execution.signals import StopRequest
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.settings.scenario import Settings

NOT_NUMBERS = {"seconds", "started_at", "peak_memory_mb"}
SETTINGS = Settings(
    victims=3,
    max_iterations=12,
    precision="float64",
    history_points=6,
    plateau_patience=2,
    early_stop_patience=4,
)


@pytest.fixture(scope="module")
def victim_set() -> VictimSet:
    generator = np.random.default_rng(0)
    return VictimSet(
        images=generator.integers(0, 256, (4, 12, 12, 1), dtype=np.uint8),
        labels=np.arange(4, dtype=np.int64),
        source_indices=np.arange(4, dtype=np.int64),
        mean=np.array([0.4], dtype=np.float32),
        std=np.array([0.3], dtype=np.float32),
        dataset="made-up",
        source="made up",
        source_detail="random pixels",
        num_classes=4,
    )


class StopsAt:
    """Stands in for the attempt record: the iteration at which a signal comes."""

    def __init__(self, stop: StopRequest, count: int | None) -> None:
        self.stop, self.count, self.calls = stop, count, 0

    def heartbeat(self, iteration: int, victims_left: int, loss: Callable[[], float]) -> None:
        self.calls += 1
        if self.calls == self.count:
            self.stop.reason = "SIGUSR1"


def job(attack: str, **changes: Any) -> AttackJob:
    settings = SETTINGS.model_copy(update=changes)
    return AttackJob.from_config(
        Cell("default", "made-up", "mlp", "0.5", attack, 0),
        settings,
        {"source": "bundled-photos", "images": 4},
    )


class Runner:
    """Runs cells with a checkpoint in a folder of the test."""

    def __init__(self, folder: Path, victim_set: VictimSet) -> None:
        self.path, self.victim_set, self.said = folder / "cell.npz", victim_set, list[str]()

    def __call__(
        self,
        of: AttackJob,
        stop_at: int | None = None,
        passes: int | None = None,
        seconds_between: float = 1e9,
    ) -> list[dict[str, Any]]:
        stop = StopRequest()
        checkpointer = Checkpointer(
            self.path, fingerprint(of, self.victim_set), self.said.append, stop, seconds_between
        )
        rows = run_cell(
            of, self.victim_set, device="cpu", threads=1, victims_per_chunk=passes,
            checkpointer=checkpointer, record=StopsAt(stop, stop_at),  # type: ignore[arg-type]
        )  # fmt: skip
        checkpointer.remove()
        return rows


@pytest.fixture
def run(tmp_path: Path, victim_set: VictimSet) -> Runner:
    return Runner(tmp_path, victim_set)


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Every column of every row, bit by bit."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert set(one) == set(other)
        for name in set(one) - NOT_NUMBERS:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("attack", ["ig", "wiig", "dia"])
@pytest.mark.parametrize(("passes", "stops"), [(None, [5]), (2, [1, 3, 14]), (1, [13, 20])])
def test_an_interrupted_cell_ends_like_an_uninterrupted_one(
    run: Runner, attack: str, passes: int | None, stops: list[int]
) -> None:
    """``stops`` are counted anew after each restart; with passes they fall into the first and into later ones."""
    of = job(attack)
    wanted = run(of, passes=passes)
    assert not run.path.exists()  # a success leaves none
    for stop in stops:
        with pytest.raises(
            AttackInterrupted,
            match=r"stopped by SIGUSR1 at iteration \d+; run the cell again",
        ):
            run(of, stop_at=stop, passes=passes)
        assert run.path.exists()
    assert_same(run(of, passes=passes), wanted)
    assert not run.path.exists()
    assert len([line for line in run.said if line.startswith("going on from a checkpoint")]) == len(stops)


@pytest.mark.parametrize(
    "changes",
    [
        {"restarts": 2},
        {"mask_init": "uniform"},
        {"batch_size": 2, "victims": 2},
        {"local_epochs": 2},
        {"mask_parametrisation": "sigmoid"},
    ],
)
def test_variants_of_the_attack_go_on_too(run: Runner, changes: dict[str, Any]) -> None:
    of = job("dia", **changes)
    wanted = run(of)
    with pytest.raises(AttackInterrupted):
        run(of, stop_at=7)
    assert_same(run(of), wanted)


def test_victims_that_have_stopped_stay_stopped(run: Runner) -> None:
    of = job("dia", loss_tolerance=0.9, max_iterations=40)  # reached at different iterations
    wanted = run(of)
    stopped = sorted({row["iterations"] for row in wanted})
    assert len(stopped) > 1
    with pytest.raises(AttackInterrupted):
        run(of, stop_at=stopped[0] + 1)
    assert_same(run(of), wanted)


def test_it_is_saved_now_and_then_for_a_kill_that_gives_no_warning(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = job("dia")
    wanted = run(of)

    def killed(self: StopsAt, iteration: int, victims_left: int, loss: Callable[[], float]) -> None:
        if iteration == 8:
            raise KeyboardInterrupt  # stands for a kill: nothing of the checkpointer runs after it

    with monkeypatch.context() as patch:
        patch.setattr(StopsAt, "heartbeat", killed)
        with pytest.raises(KeyboardInterrupt):
            run(of, seconds_between=0.0)
    assert_same(run(of), wanted)
    assert run.said == ["going on from a checkpoint: 3 victims left, iteration 7"]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (job("dia", learning_rate=0.2), "another cell, other settings"),
        (job("wiig"), "another cell, other settings"),
    ],
)
def test_a_foreign_checkpoint_is_set_aside(run: Runner, other: AttackJob, reason: str) -> None:
    of = job("dia")
    wanted = run(of)
    with pytest.raises(AttackInterrupted):
        run(other, stop_at=5)
    assert_same(run(of), wanted)
    assert len(run.said) == 1
    assert (
        "checkpoint refused and set aside as" in run.said[0] and "starting from the beginning" in run.said[0]
    )
    assert reason in run.said[0]
    assert run.path.with_suffix(".refused.npz").exists()


def test_other_victims_make_a_checkpoint_foreign(run: Runner, victim_set: VictimSet) -> None:
    changed = victim_set.images.copy()
    changed[0] ^= 1
    of = job("ig")
    with pytest.raises(AttackInterrupted):
        run(of, stop_at=5)
    run.victim_set = replace(victim_set, images=changed)
    run(of)
    assert "belongs to another cell, other settings, victims, code or version of torch" in run.said[0]


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "bytes flipped"])
def test_a_damaged_checkpoint_is_set_aside(run: Runner, damage: str) -> None:
    of = job("dia")
    wanted = run(of)
    with pytest.raises(AttackInterrupted):
        run(of, stop_at=5)
    content = run.path.read_bytes()
    middle = len(content) // 2
    flipped = (
        content[:middle]
        + bytes(255 - byte for byte in content[middle : middle + 64])
        + content[middle + 64 :]
    )
    run.path.write_bytes(
        {"truncated": content[:middle], "empty": b"", "text": b"hello", "bytes flipped": flipped}[damage]
    )
    assert_same(run(of), wanted)
    assert "checkpoint refused and set aside" in run.said[0]


Arrays = dict[str, np.ndarray]
Meta = dict[str, Any]


def half(name: str) -> Callable[[Arrays, Meta], None]:
    return lambda arrays, meta: arrays.update({name: arrays[name].astype(np.float16)})


def shorter(name: str) -> Callable[[Arrays, Meta], None]:
    return lambda arrays, meta: arrays.update({name: arrays[name][..., :-1]})


EDITS: dict[str, tuple[Callable[[Arrays, Meta], None], str]] = {
    "image of another shape": (
        shorter("active.0.best_x"),
        r"active.best_x is float64 \[2, 1, 1, 12, 11\], expected",
    ),
    "a variable too few": (
        shorter("active.0.variables"),
        r"active.variables is float64 \[2, \d+\], expected",
    ),
    "another dtype": (half("active.0.exp_avg"), "active.exp_avg is float16"),
    "losses of another dtype": (
        half("active.0.best.loss"),
        r"active.best.loss is float16 \[2\], expected float64",
    ),
    "a victim too few": (shorter("active.0.best_distance"), r"active.best_distance is float64 \[1\]"),
    "a victim twice": (lambda arrays, meta: arrays["active.0.victims"].fill(0), "not those of 3 victims"),
    "an unknown victim": (lambda arrays, meta: arrays["active.0.victims"].fill(9), "not those of 3 victims"),
    "victims that are no numbers": (half("active.0.victims"), ""),
    "a chunk lost": (lambda arrays, meta: meta["pending"].clear(), "not those of 3 victims"),
    "no chunk begun": (lambda arrays, meta: meta["active"].clear(), "no victim is under attack"),
    "a missing array": (
        lambda arrays, meta: arrays.update(x=arrays.pop("active.0.best_x")),
        "active.0.best_x",
    ),
    "a missing key": (lambda arrays, meta: meta["active"][0].pop("plateau") and None, "plateau"),
    "an unknown key": (lambda arrays, meta: meta["active"][0].update(extra=1), "extra"),
    "an iteration beyond": (lambda arrays, meta: meta["active"][0].update(iteration=99), "iteration is 99"),
    "an iteration that is text": (
        lambda arrays, meta: meta["active"][0].update(iteration="5"),
        "iteration is '5'",
    ),
    "another threshold": (lambda arrays, meta: meta["active"][0].update(threshold=0.0), "threshold is 0.0"),
    "another start": (lambda arrays, meta: meta["active"][0].update(restart=1), "not those of 3 victims"),
    "no shapes": (
        lambda arrays, meta: meta["active"][0].update(shapes=[]),
        "shapes has 0 entries, expected 4",
    ),
    "a chunk of none": (lambda arrays, meta: meta.update(chunk_size=0), "chunk size is 0"),
    "curves of fewer victims": (
        lambda arrays, meta: meta["points"].pop() and None,
        "curves are not those of 3",
    ),
    "curves of text": (
        lambda arrays, meta: meta["points"].__setitem__(0, [["a"] * 5]),
        "curves are not those",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_checkpoint_edited_inside_is_set_aside(run: Runner, edit: str) -> None:
    """Its sums are valid, its content is not what the attack would have written."""
    of = job("dia")
    with pytest.raises(AttackInterrupted):
        run(of, stop_at=5, passes=2)
    with np.load(run.path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays["meta"]))
    change, reason = EDITS[edit]
    change(arrays, meta)
    np.savez(run.path, **(arrays | {"meta": np.array(json.dumps(meta))}))
    with pytest.raises(AttackInterrupted):  # from the beginning
        run(of, stop_at=1)
    assert "refused and set aside" in run.said[0]
    assert re.search(reason, run.said[0]), run.said[0]
    assert run.path.with_suffix(".refused.npz").exists()


def test_a_checkpoint_belongs_to_a_version_of_torch(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    of = job("ig")
    with pytest.raises(AttackInterrupted):
        run(of, stop_at=5)
    monkeypatch.setattr("torch.__version__", "2.6.0")
    run(of)
    assert "victims, code or version of torch" in run.said[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_does_not_end_an_attack(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    of = job("dia")
    wanted = run(of)

    def full(file: Any, *arrays: Any, **named: Any) -> None:
        with open("/dev/full", "wb") as device:
            device.write(b"x")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        assert_same(run(of, seconds_between=0.0), wanted)
        assert "going on without a checkpoint: cannot write " in run.said[0]
        with pytest.raises(
            AttackInterrupted,
            match=r"could not be saved .*No space left.* from the beginning",
        ):
            run(of, stop_at=5)
    assert os.listdir(run.path.parent) == []


def test_a_cell_whose_victims_all_fail_names_cell_victims_and_iteration(run: Runner) -> None:
    with pytest.raises(
        AttackError,
        match=r"cell default/made-up/mlp/p0\.5/dia/seed0: (\d+) of \1 victims failed "
        r"\(victim 0000, .*: the loss is not finite at iteration [01];",
    ):
        run(job("dia", learning_rate=1e308, mask_penalty_weight=1e308))
