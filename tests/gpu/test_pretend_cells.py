"""Cells on a pretend GPU: the rows that the CPU gives, and no waiting within an iteration."""

from typing import Any

import numpy as np
import pytest
import torch
from gpu.pretend import CUDA, pretend_gpu

from dia.datasets.registry import parse_dataset
from dia.datasets.victim_selection import make_victims
from dia.execution.run_cell import run_cell
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.settings.scenario import Settings

SPEC = parse_dataset('{"source": "bundled-mnist", "images": 8}', "mnist")
LBFGS = {"lbfgs_start_iteration": 2, "mask_penalty_weight": 0.0}
LOCAL = {"local_epochs": 2, "local_batch_size": 1, "local_learning_rate": 0.05}
DEFENDED = {"defence_clip_norm": 1.0, "defence_noise_std": 1e-3, "defence_keep_fraction": 0.5}
COLUMNS = ("matching_distance", "iterations", "ssim", "mse", "stop_reason", "mask_accuracy")


def rows(device: str, attack: str, model: str = "mlp", **settings: Any) -> list[dict[str, Any]]:
    chosen = Settings(**{"victims": 2, "batch_size": 2, "max_iterations": 4, **settings})
    cell = Cell("default", "mnist", model, "0.5", attack, 0)
    job = AttackJob.from_config(cell, chosen, SPEC.model_dump(mode="json"))
    return run_cell(job, make_victims(SPEC, "mnist"), device=device, threads=1, victims_per_chunk=2)


CASES: list[tuple[str, str, dict[str, Any]]] = [
    *((attack, "mlp", {}) for attack in ("ig", "wiig", "dia", "dia_readout", "seed_search", "analytic")),
    ("dia", "mlp", LBFGS),
    ("dia", "mlp", LOCAL),
    ("dia", "mlp", DEFENDED),
    ("dia", "mlp", {"attacker_labels": "inferred", "precision": "float64"}),
    ("dia", "lenet", {"max_iterations": 2}),
]


@pytest.mark.parametrize(("attack", "model", "settings"), CASES)
def test_rows_are_those_of_the_cpu(attack: str, model: str, settings: dict[str, Any]) -> None:
    expected = rows("cpu", attack, model, **settings)
    with pretend_gpu() as counts:
        found = rows("cuda:0", attack, model, **settings)
    assert counts.launches
    for mine, theirs in zip(found, expected, strict=True):
        for column in COLUMNS:
            if isinstance(theirs.get(column), float):
                assert mine[column] == pytest.approx(theirs[column], rel=1e-5, abs=1e-6), column
            else:
                assert mine.get(column) == theirs.get(column), column


def test_mixed_devices_are_refused() -> None:
    with pretend_gpu():
        on_gpu = torch.ones(3, device=CUDA)
        with pytest.raises(RuntimeError, match="same device"):
            on_gpu + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(on_gpu)
        assert (on_gpu * 2).cpu().tolist() == [2.0, 2.0, 2.0]
