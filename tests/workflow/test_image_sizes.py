"""Three levels of complexity from images to rows, offline: MNIST, CIFAR-10, and photographs at ImageNet's size."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.workplace import ROOT, Workplace
from scipy.optimize import linear_sum_assignment

CIFAR10 = Path(os.environ.get("DIA_SHARED", ROOT.parent / "shared")) / "data" / "cifar10_128.npz"
FILE = {"source": "file", "path": str(CIFAR10), "num_classes": 10, "normalisation": "cifar10", "images": 4}
DATASETS: dict[str, dict[str, Any]] = {
    "mnist": {"source": "bundled-mnist", "images": 64},
    "cifar10": FILE,
    "photos": {"source": "bundled-photos", "size": 224, "num_classes": 1000, "images": 2},
}


def row(
    workplace: Workplace,
    dataset: str,
    model: str,
    attack: str,
    models: dict[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """The first row of one cell at p = 0.25, run by the workflow."""
    grid = {
        "datasets": [dataset],
        "models": [model],
        "dropout_rates": ["0.25"],
        "attacks": [attack],
        "seeds": [0],
    }
    config = workplace.config(
        {
            "name": "levels",
            "datasets": {dataset: DATASETS[dataset]},
            "models": models or {},
            "scenarios": {"default": {"victims": 1, "history_points": 1000} | settings},
            "grids": [grid],
        }
    )
    cell = f"results/levels/cells/default/{dataset}/{model}/p0.25/{attack}/seed0.parquet"
    workplace.snakemake(cell, "--configfile", config, "--cores", "1")
    first: dict[str, Any] = pq.read_table(workplace.folder / cell).to_pylist()[0]
    return first


@pytest.mark.parametrize(
    ("dataset", "model", "iterations", "shape"),
    [
        ("mnist", "mlp", 30, [1, 1, 28, 28]),
        ("mnist", "lenet", 30, [1, 1, 28, 28]),
        ("cifar10", "lenet", 30, [1, 3, 32, 32]),
        ("cifar10", "resnet18", 5, [1, 3, 32, 32]),
        ("photos", "vit_b16", 2, [1, 3, 224, 224]),  # 3 GB
    ],
)
def test_the_loss_falls(
    workplace: Workplace, dataset: str, model: str, iterations: int, shape: list[int]
) -> None:
    if dataset == "cifar10" and not CIFAR10.is_file():
        pytest.skip(f"{CIFAR10} is not there")
    found = row(workplace, dataset, model, "dia", max_iterations=iterations)
    assert found["image_shape"] == shape
    assert found["iterations"] == iterations
    losses = found["history_total_loss"]
    assert len(losses) == iterations
    assert losses[-1] < losses[0]
    assert found["mask_accuracy"] is not None
    assert found["notes"] == ""  # nothing took the slower path


def test_a_model_of_one_s_own_may_lie_in_the_working_directory(workplace: Workplace) -> None:
    (workplace.folder / "my_net.py").write_text(
        "from torch import nn\n\n\ndef net(side):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(side * side, 8), nn.Dropout(), nn.Linear(8, 10))\n"
    )
    own = {"factory": "module:my_net.net", "arguments": {"side": "$width"}}
    found = row(workplace, "mnist", "net", "dia", models={"net": own}, max_iterations=3)
    definition = json.loads(found["model_definition"])
    assert (definition["arguments"], definition["factory"]) == ({"side": "$width"}, "module:my_net.net")
    assert len(definition["source"]) == 64
    assert found["model"] == "net"


@pytest.mark.parametrize("images", [2, 16])
def test_batches_are_matched_and_may_be_larger_than_the_number_of_classes(
    workplace: Workplace, images: int
) -> None:
    found = row(workplace, "mnist", "mlp", "wiig", max_iterations=20, batch_size=images)
    assert len(found["labels"]) == images
    assert len(set(found["labels"])) == min(images, 10)
    assert found["image_shape"] == [images, 1, 28, 28]
    original, rebuilt = (np.reshape(found[key], (images, -1)) for key in ("original", "reconstruction"))
    cost = ((original[:, None] - rebuilt[None]) ** 2).mean(2)
    assert linear_sum_assignment(cost)[1].tolist() == list(
        range(images)
    )  # as stored: each beside its original
    assert found["mse_per_image"] == pytest.approx(cost.diagonal().tolist(), rel=1e-4)
    assert found["mse"] == pytest.approx(cost.diagonal().mean(), rel=1e-4)
    assert found["success"] == pytest.approx(
        np.mean(np.array(found["ssim_per_image"]) >= found["success_min_ssim"])
    )
