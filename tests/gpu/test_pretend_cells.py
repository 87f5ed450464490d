"""Cells on a pretend GPU: every column of every row is what the CPU gives, to the last bit."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from gpu import pretend
from gpu.pretend import CUDA, pretend_gpu
from helpers.small_cells import CLASSES, LBFGS, make_job, run, small_models, training_images, victim_set

from dia.attacks.registry import ATTACKS
from dia.defences.registry import DEFENCES
from dia.federated.trained_model import TrainedModel
from dia.federated.training import train
from dia.gradients.batched import BatchedGradientEngine
from dia.jobs.attack_job import AttackJob
from dia.jobs.training_job import TrainingJob
from dia.models.build import build_model
from dia.models.custom import CustomModel
from dia.models.registry import MODELS
from dia.verification import replay

DIFFERS = {"device", "device_name", "started_at", "seconds", "peak_memory_mb"}
"""Columns in which two runs of one cell may differ."""
LOCAL = {"local_epochs": 2, "local_batch_size": 1, "local_learning_rate": 0.05, "batch_size": 2}
DEFENDED = {
    "defence_clip_norm": 0.1,
    "defence_noise_std": 1e-3,
    "defence_keep_fraction": 0.5,
    "defence_quantisation": "int8",
}
FEW = {"victims": 1, "max_iterations": 1}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{attack: (attack, "mlp", {"seed_candidates": 4}) for attack in ATTACKS},
    **{model: ("dia", model, FEW if model == "resnet18" else {"max_iterations": 2}) for model in MODELS},
    **{name: ("dia", "mlp", {"max_iterations": 2, name: value}) for name, value in DEFENDED.items()},
    "analytic-vit": ("analytic", "vit", {}),
    "analytic-lenet": ("analytic", "lenet", {}),
    "readout-lenet": ("dia_readout", "lenet", {"max_iterations": 2}),
    "seed-found": ("seed_search", "mlp", {"client_mask_seed_space": 2, "seed_candidates": 4}),
    "lbfgs-vit": ("dia", "vit", {**LBFGS, "max_iterations": 3}),
    "lbfgs-local": ("dia", "mlp", {**LBFGS, **LOCAL}),
    "batch": ("dia", "mlp", {"batch_size": 3}),
    "local": ("dia", "mlp", LOCAL),
    "local-lenet": ("wiig", "lenet", {**LOCAL, "max_iterations": 1}),
    "local-defended": ("dia", "mlp", {**LOCAL, **DEFENDED, "defence_quantisation": "sign"}),
    "labels-inferred": ("dia", "mlp", {"attacker_labels": "inferred", "batch_size": 2}),
    "rate-unknown": ("dia", "mlp", {"attacker_dropout_rate": "unknown", "mask_init": "uniform"}),
    "rate-wrong": ("dia", "mlp", {"attacker_dropout_rate": "0.2", "mask_init": "mean"}),
    "other-search": (
        "dia",
        "mlp",
        {
            "mask_parametrisation": "sigmoid",
            "learning_rate_schedule": "cosine",
            "mask_learning_rate": 0.3,
            "tv_initial_factor": 100.0,
            "tv_decay_iterations": 3,
            "restarts": 2,
            "signed_gradients": False,
            "cosine_epsilon": "relative",
        },
    ),
    "stops-early": ("dia", "mlp", {"early_stop_patience": 1, "learning_rate": 2.0, "max_iterations": 45}),
    "float32": ("dia", "mlp", {"precision": "float32"}),
}


def assert_same_rows(
    found: list[dict[str, Any]], expected: list[dict[str, Any]], device: str = "cuda", rtol: float = 0.0
) -> None:
    """Every column but those of :data:`DIFFERS`; bit by bit, where no relative tolerance ``rtol`` is given."""
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert set(mine) == set(theirs)
        assert set(theirs) >= DIFFERS
        for column in set(theirs) - DIFFERS:
            one, other = np.asarray(mine[column]), np.asarray(theirs[column])
            if rtol and one.dtype.kind == "f":
                np.testing.assert_allclose(one, other, rtol=rtol, err_msg=column)
            else:
                np.testing.assert_array_equal(one, other, err_msg=column)
        assert (mine["device"], theirs["device"]) == (device, "cpu")


def assert_same_on_both(job: AttackJob, rtol: float = 0.0, **how: Any) -> list[dict[str, Any]]:
    expected = run(job, "cpu", **how)
    with pretend_gpu() as counts:
        found = run(job, "cuda:0", **how)
        assert counts.launches
    assert_same_rows(found, expected, rtol=rtol)
    return expected


def test_no_registered_defence_is_left_out() -> None:
    assert set(DEFENDED) == set(DEFENCES)


@pytest.mark.parametrize("case", CASES)
def test_rows_are_those_of_the_cpu(case: str) -> None:
    attack, model, settings = CASES[case]
    # Victims that have stopped stay in a GPU's batch until somebody looks, and sums round otherwise in a larger one.
    rtol = 1e-9 if case == "stops-early" else 0.0
    expected = assert_same_on_both(make_job(attack, model, **settings), rtol)
    if case == "stops-early":
        assert len({row["iterations"] for row in expected}) > 1
    if case.startswith("analytic-"):
        assert {row["stop_reason"] for row in expected} <= {"solved", "underdetermined"}


def test_a_model_of_ones_own_that_goes_one_victim_at_a_time() -> None:
    names = ("channels", "height", "width", "num_classes", "dropout_rate")
    own = CustomModel(
        factory="module:helpers.small_cells.batch_norm", arguments={name: f"${name}" for name in names}
    )
    rows = assert_same_on_both(make_job("dia", "mine", own, max_iterations=2))
    assert "one victim at a time" in rows[0]["notes"]


def test_the_number_of_victims_in_a_chunk_is_chosen() -> None:
    rows = assert_same_on_both(make_job("dia", max_iterations=2), victims_per_chunk=None)
    assert rows[0]["victims_per_chunk"] == 2


def test_a_small_gpu_gets_smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a part of one (MIG) or a laptop's: half of what it has, where that is less than 16 GiB."""
    job, sizes = make_job("dia", victims=4, max_iterations=1), []
    for memory in (2**30, 2**17):
        monkeypatch.setattr(pretend, "MEMORY", memory)
        with pretend_gpu():
            sizes.append(run(job, "cuda:0", victims_per_chunk=None)[0]["victims_per_chunk"])
    assert sizes[0] == 4 > sizes[1] >= 1


@pytest.mark.parametrize("protocol", ["plain", "local-defended"])
def test_training_on_the_gpu_and_a_cell_on_what_it_trained(protocol: str) -> None:
    training = {"federated_rounds": 2, "training_clients": 2, "training_batch_size": 2}
    extra = {} if protocol == "plain" else {**LOCAL, **DEFENDED}
    job = make_job("dia", max_iterations=2, **training, **extra)
    training_job = TrainingJob.from_attack(job)
    assert training_job is not None
    images = victim_set("mlp")

    def trained(device: str) -> TrainedModel:
        with small_models():
            return train(training_job, training_images("mlp"), images, torch.device(device))

    expected = trained("cpu")
    with pretend_gpu() as counts:
        found = trained("cuda:0")
        assert counts.launches
    assert found.utility == expected.utility
    for name, value in expected.state.items():
        np.testing.assert_array_equal(found.state[name], value, err_msg=name)
    assert_same_on_both(job, trained=expected)


def test_columns_that_are_not_there_are_noticed() -> None:
    row = dict.fromkeys([*DIFFERS, "ssim"], 0.5) | {"device": "cpu"}
    on_gpu = row | {"device": "cuda"}
    assert_same_rows([on_gpu], [row])
    for other in (on_gpu | {"more": 1}, on_gpu | {"ssim": 0.5000001}, {"device": "cuda"}):
        with pytest.raises(AssertionError):
            assert_same_rows([other], [row])


def test_mixed_devices_are_refused() -> None:
    with pretend_gpu():
        on_gpu = torch.ones(3, device=CUDA)
        with pytest.raises(RuntimeError, match="same device"):
            on_gpu + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(on_gpu)
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(CLASSES, device=CUDA, generator=torch.Generator())
        assert (on_gpu * 2).cpu().tolist() == [2.0, 2.0, 2.0]


class TestTF32:
    """What float32 products with 10 bits of mantissa, as TF32 takes them, do to a cell."""

    JOB: ClassVar[dict[str, Any]] = {"precision": "float32", "tf32": True, **FEW}

    def test_checks_of_the_engine_are_not_misled(self) -> None:
        with pretend_gpu():
            rows = run(make_job("dia", "resnet18", **self.JOB), "cuda:0")
        assert "one victim at a time" not in rows[0]["notes"]

    def test_they_would_be_if_they_allowed_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        undecorated = BatchedGradientEngine._verify.__wrapped__  # type: ignore[attr-defined]
        monkeypatch.setattr(BatchedGradientEngine, "_verify", undecorated)
        with pretend_gpu():
            rows = run(make_job("dia", "resnet18", **self.JOB), "cuda:0")
        assert "one victim at a time" in rows[0]["notes"]

    @pytest.mark.parametrize("model", ["mlp", "lenet", "vit"])
    def test_iterations_have_it(self, model: str) -> None:
        with pretend_gpu():
            exact, rounded = (
                run(make_job("dia", model, **self.JOB | {"tf32": tf32}), "cuda:0")[0]["matching_distance"]
                for tf32 in (False, True)
            )
        assert rounded != exact
        assert rounded == pytest.approx(exact, abs=1e-2)


def test_a_golden_run_has_its_iterations_on_a_gpu_too(tmp_path: Path) -> None:
    """A GPU goes on until somebody looks, and what a victim does after it stopped belongs to no run."""
    shape, rng = (1, 1, 12, 12), np.random.default_rng(1)
    with small_models():
        weights = build_model("mlp", shape[1:], CLASSES, 0.5, seed=0).state_dict()
        np.savez(
            tmp_path / "mnist_mlp_weights.npz", **{name: value.numpy() for name, value in weights.items()}
        )
        run = {
            **{name: rng.normal(size=shape) / 10 for name in ("victim", "x0", "x_final")},
            "label": np.array([3]),
            "dropout_rate": np.array(0.5),
            "losses": np.ones(90),
            **{f"client_mask_{site:02d}": rng.random((1, 16)) < 0.5 for site in range(2)},
            "max_iterations": np.array(90),
            "plateau_patience": np.array(10),
            "early_stop_patience": np.array(1),
        }
        path = tmp_path / "mnist_mlp_wiig_p0.50.npz"
        np.savez(path, **run)
        expected = replay(path)
        with pretend_gpu():
            found = replay(path, CUDA)
    assert found.iterations == expected.iterations < 90
    assert expected.iterations % 20 > 0
