"""Cells on a pretend GPU that are stopped or run out of memory, and end like those that are not."""

import pkgutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu.pretend import pretend_gpu
from gpu.test_pretend_cells import LOCAL, assert_same_rows
from helpers.small_cells import LBFGS, make_job, run

from dia.attacks.optimisation import attack
from dia.errors import AttackError, AttackInterrupted
from dia.execution.checkpoint import Checkpointer
from dia.execution.signals import StopRequest
from dia.jobs.attack_job import AttackJob

ERROR = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


class StopsAt(StopRequest):
    """Asks to stop once it has been looked at ``looks`` times."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def reason(self) -> str | None:  # type: ignore[override]
        self.looks -= 1
        return "SIGUSR1" if self.looks < 0 else None


def part_of_a_run(job: AttackJob, device: str, path: Path, looks: int) -> list[dict[str, Any]]:
    checkpointer = Checkpointer(path, "this cell", pytest.fail, StopsAt(looks))
    checkpointer.announce = lambda line: None if "going on from" in line else pytest.fail(line)
    return run(job, device, checkpointer=checkpointer, victims_per_chunk=2)


@pytest.mark.parametrize(
    ("settings", "first", "second"),
    [
        ({}, "cuda:0", "cuda:0"),
        (LBFGS, "cuda:0", "cpu"),
        (LBFGS, "cpu", "cuda:0"),
        (LOCAL, "cuda:0", "cuda:0"),
    ],
    ids=["adam", "lbfgs-to-cpu", "lbfgs-to-gpu", "local"],
)
def test_a_checkpoint_goes_on_on_any_device(
    settings: dict[str, Any], first: str, second: str, tmp_path: Path
) -> None:
    job = make_job("dia", **settings, victims=3)
    expected = run(job, "cpu", victims_per_chunk=2)
    with pretend_gpu():
        with pytest.raises(AttackInterrupted):
            part_of_a_run(job, first, tmp_path / "checkpoint.npz", 3)
        found = part_of_a_run(job, second, tmp_path / "checkpoint.npz", 1000)
    assert_same_rows(found, expected, torch.device(second).type)


class Failing:
    """A function whose calls of the given numbers, from 1, do their work and then run out of memory.

    Attributes:
        calls: How often it was called.
    """

    def __init__(self, plain: Any, failing: set[int]) -> None:
        self.plain, self.failing, self.calls = plain, failing, 0

    def __call__(self, *args: Any, **how: Any) -> Any:
        self.calls += 1
        found = self.plain(*args, **how)
        if self.calls in self.failing:
            raise ERROR
        return found

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else partial(self, owner)


@pytest.mark.parametrize(
    ("name", "settings", "part", "calls"),
    [
        ("dia", {}, "evaluate", {1}),
        ("dia", {}, "advance", {2, 4}),
        ("dia", LBFGS, "evaluate", {3, 5}),
        ("dia", LBFGS, "advance", {4}),
        ("dia_readout", {}, "evaluate", {2, 10}),
        ("wiig", LOCAL, "evaluate", {6}),
    ],
)
def test_memory_runs_out(
    name: str, settings: dict[str, Any], part: str, calls: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six victims in chunks of three: continued as two and one, or begun again as such.

    Their curves have every iteration once, as all columns are compared.
    """
    job = make_job(name, victims=6, **settings)
    expected = run(job, "cpu", victims_per_chunk=3)
    failing = Failing(getattr(attack, part), calls)
    monkeypatch.setattr(attack, part, failing)
    with pretend_gpu():
        found = run(job, "cuda:0", victims_per_chunk=3)
    assert failing.calls > max(calls)
    for row in found:
        assert row["notes"].count("out of memory: begun with 3 victims per chunk") == 1
        assert row["victims_per_chunk"] < 3
    for row in [*found, *expected]:
        del row["victims_per_chunk"], row["notes"]
    assert_same_rows(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "where",
    [
        ("dia.federated.client", "compute_update"),
        ("dia.attacks.mask_readout.readout.Readout", "read"),
        ("dia.execution.run_cell", "score"),
    ],
)
def test_where_nothing_can_be_halved_it_is_said(
    where: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = pkgutil.resolve_name(where[0])
    monkeypatch.setattr(owner, where[1], Failing(getattr(owner, where[1]), {1}))
    with (
        pretend_gpu(),
        pytest.raises(AttackError, match=r"dia_readout/seed0: out of memory outside the iterations.*CUBLAS"),
    ):
        run(make_job("dia_readout"), "cuda:0")
