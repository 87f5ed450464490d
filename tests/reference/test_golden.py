"""Runs of the paper authors' code, replayed; and ``dia verify`` on good, bad and damaged runs.

The authors' runs are not part of the repository. They are looked for in the folder ``golden`` of
$DIA_SHARED (by default ``shared`` beside the repository). The other tests make their own runs, with the
oracle.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.oracle import Client, attack
from helpers.plain_models import PLAIN

from dia.cli import main
from dia.datasets.specs import NORMALISATIONS
from dia.errors import GoldenError
from dia.settings.scenario import Settings
from dia.verification import replay, runs

REPOSITORY = Path(__file__).parents[2]
GOLDEN = Path(os.environ.get("DIA_SHARED", REPOSITORY.parent / "shared")) / "golden"


def golden_runs() -> list[Any]:
    """The authors' runs as test parameters, those of the quicker model first."""
    try:
        paths = runs(GOLDEN)
    except GoldenError:
        reason = "no golden runs: there is no folder 'golden' in $DIA_SHARED or ../shared"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")]
    paths.sort(key=lambda path: "_vit_" in path.stem)
    return [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if "_vit_" in path.stem else [])
        for path in paths
    ]


@pytest.mark.parametrize("path", golden_runs())
def test_golden_run(path: Path) -> None:
    verdict = replay(path)
    assert verdict.passed, str(verdict)


Arrays = dict[str, Any]
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def made() -> tuple[Arrays, Arrays]:
    """A run of dia on the mlp at MNIST's size, by the oracle, in the authors' format: (run, weights)."""
    iterations, rate, shape = 4, 0.5, (1, 28, 28)
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PLAIN["mlp"](shape, 10, rate).double()
    client = Client(model, torch.zeros(1, *shape, dtype=torch.float64))
    mean, std = (
        torch.tensor(np.asarray(v, np.float32), dtype=torch.float64)[:, None, None]
        for v in NORMALISATIONS["mnist"]
    )
    victim = (torch.rand(1, *shape, generator=rng, dtype=torch.float64) - mean) / std
    label = torch.tensor([7])
    masks = [[torch.rand(1, 512, generator=rng) < 1 - rate for _ in range(3)] for _ in range(2)]
    client_masks, start = [[mask.double() for mask in site] for site in masks]
    x0 = torch.randn(1, *shape, generator=rng, dtype=torch.float64)
    received = client.gradient(victim, client_masks, label)
    settings = Settings(max_iterations=iterations)
    result = attack(
        client,
        received,
        label,
        x0,
        ((0 - mean) / std, (1 - mean) / std),
        settings,
        masks=start,
        optimise_masks=True,
    )
    arrays: Arrays = dict(
        victim=victim.numpy(),
        label=label.numpy(),
        dropout_rate=rate,
        x0=x0.numpy(),
        losses=np.array(result.losses),
        x_final=result.x.numpy(),
        best_iteration=result.best_iteration,
        max_iterations=iterations,
        plateau_patience=settings.plateau_patience,
        early_stop_patience=settings.early_stop_patience,
    )
    for number in range(3):
        arrays[f"client_mask_{number:02d}"] = masks[0][number].numpy()
        arrays[f"mask0_{number:02d}"] = masks[1][number].numpy()
    return arrays, {name: value.detach().numpy() for name, value in client.parameters.items()}


@pytest.fixture
def make(made: tuple[Arrays, Arrays], tmp_path: Path) -> Make:
    """Writes the run into a folder: ``make(name, **changed arrays)``; an array set to None is left out."""
    run, weights = made

    def write(name: str = "mnist_mlp_dia_p0.50", **changes: Any) -> Path:
        arrays = {key: value for key, value in (run | changes).items() if value is not None}
        np.savez(tmp_path / f"{name}.npz", **arrays)
        np.savez(tmp_path / "mnist_mlp_weights.npz", **weights)
        return tmp_path / f"{name}.npz"

    return write


def verify(folder: Path) -> int:
    return main(["verify", "--golden", str(folder)])


def test_verify_passes(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make()
    make("mnist_mlp_dia_p0.50_again")
    assert verify(tmp_path) == 0
    first, second, summary = capsys.readouterr().out.splitlines()
    for line, name in ((first, "mnist_mlp_dia_p0.50 "), (second, "mnist_mlp_dia_p0.50_again ")):
        assert line.startswith("PASS")
        assert name in line
        assert "worst relative loss deviation" in line
        assert "worst absolute x_final deviation" in line
    assert summary == "2 of 2 golden runs reproduced"


def altered(made: tuple[Arrays, Arrays], case: str) -> Arrays:
    """Changes that each make a run fail."""
    run = made[0]
    if case == "one loss":
        return {"losses": run["losses"] * np.array([1, 1, 1 + 3e-6, 1])}
    if case == "one pixel":
        image = run["x_final"].copy()
        image[0, 0, 14, 14] += 2e-6
        return {"x_final": image}
    if case == "a loss that is not a number":
        return {"losses": np.array([np.nan, *run["losses"][1:]])}
    if case == "fewer iterations":
        return {"losses": run["losses"][:3]}
    if case == "another label":
        return {"label": np.array([8])}
    if case == "another client mask":
        return {"client_mask_01": ~run["client_mask_01"]}
    assert case == "another first mask"
    return {"mask0_02": ~run["mask0_02"]}


@pytest.mark.parametrize(
    "case",
    [
        "one loss",
        "one pixel",
        "a loss that is not a number",
        "fewer iterations",
        "another label",
        "another client mask",
        "another first mask",
    ],
)
def test_verify_fails(
    made: tuple[Arrays, Arrays], make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    """One altered run beside a good one."""
    make("mnist_mlp_dia_p0.50_a")
    make("mnist_mlp_dia_p0.50_b", **altered(made, case))
    assert verify(tmp_path) == 1
    first, second, summary = capsys.readouterr().out.splitlines()
    assert first.startswith("PASS")
    assert second.startswith("FAIL")
    assert summary == "1 of 2 golden runs reproduced"


def test_deviations_within_the_limits_pass(made: tuple[Arrays, Arrays], make: Make) -> None:
    run = made[0]
    verdict = replay(make(losses=run["losses"] * (1 + 5e-7), x_final=run["x_final"] + 5e-7))
    assert verdict.passed
    assert verdict.loss_deviation == pytest.approx(5e-7, rel=1e-3)
    assert verdict.image_deviation == pytest.approx(5e-7, rel=1e-3)


def test_settings_are_read_from_the_run(make: Make) -> None:
    """Fewer iterations than losses, or a schedule that fires: the replay follows the file, so it differs."""
    assert replay(make(max_iterations=3)).iterations == 3
    assert not replay(make(early_stop_patience=1, plateau_patience=0, max_iterations=3)).passed


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "mnist_mlp_weights.npz", a=np.zeros(1))
    assert verify(tmp_path) == 1
    assert f"no golden run (<dataset>_<model>_<attack>_p<rate>.npz) in {tmp_path}" in capsys.readouterr().err


def test_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(tmp_path / "nowhere") == 1
    assert "no golden run" in capsys.readouterr().err


def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The line with which ``dia verify`` says that it cannot replay the one run of a folder."""
    assert verify(folder) == 1
    line, summary = capsys.readouterr().out.splitlines()
    assert line.startswith("FAIL")
    assert summary == "0 of 1 golden runs reproduced"
    return line


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.999])
def test_truncated_run(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: float) -> None:
    path = make()
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    assert f"{path}: truncated, damaged" in refused(tmp_path, capsys)


def test_damaged_run(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped bit inside an array, which zip's checksum finds."""
    path = make()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert f"{path}: truncated, damaged" in refused(tmp_path, capsys)


@pytest.mark.parametrize(
    "name",
    ["victim", "label", "dropout_rate", "x0", "losses", "x_final", "max_iterations", "client_mask_01"],
)
def test_missing_array(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = make(**{name: None})
    assert f"{path}: lacks {name}" in refused(tmp_path, capsys)


def test_a_run_that_cannot_be_replayed_stops_no_other(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("mnist_mlp_dia_p0.50_a").write_bytes(b"PK")
    make("mnist_mlp_dia_p0.50_b")
    assert verify(tmp_path) == 1
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("FAIL")
    assert second.startswith("PASS")


def test_missing_first_masks(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(mask0_00=None, mask0_01=None, mask0_02=None)
    assert f"{path}: lacks mask0_00, mask0_01, mask0_02" in refused(tmp_path, capsys)


def test_missing_weights(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make()
    (tmp_path / "mnist_mlp_weights.npz").unlink()
    message = refused(tmp_path, capsys)
    assert f"{tmp_path / 'mnist_mlp_weights.npz'}: no such file" in message


@pytest.mark.parametrize("name", ["mnist_resnet_dia_p0.50", "svhn_mlp_dia_p0.50"])
def test_unknown_model_or_dataset(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    make(name)
    dataset, model, *_ = name.split("_")
    weights = tmp_path / "mnist_mlp_weights.npz"
    weights.rename(tmp_path / f"{dataset}_{model}_weights.npz")
    message = refused(tmp_path, capsys)
    assert (
        "unknown model 'resnet'" if model == "resnet" else "no normalisation is known for 'svhn'"
    ) in message


def test_weights_of_another_model(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make()
    np.savez(tmp_path / "mnist_mlp_weights.npz", **{"layers.0.linear.weight": np.zeros((3, 3))})
    assert f"{path}: its weights do not fit the model" in refused(tmp_path, capsys)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_mask_01": np.ones((1, 100), bool)},
        {"mask0_01": np.ones((2, 512), bool)},
        {"x0": np.zeros((1, 1, 14, 14))},
        {"x_final": np.zeros((1, 1, 14, 14))},
        {"victim": np.zeros((28, 28))},
        {"label": np.array([7, 7])},
        {"label": np.array([10])},
    ],
    ids=["client mask", "first mask", "x0", "x_final", "victim", "two labels", "label out of range"],
)
def test_wrong_shape(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: Arrays) -> None:
    path = make(**changes)
    message = refused(tmp_path, capsys)
    assert str(path) in message
    assert next(iter(changes)) in message
