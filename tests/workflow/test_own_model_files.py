"""A user's own model file under real Snakemake: an edit of its code reruns what is made of it, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from helpers.workplace import Workplace
from safetensors.numpy import save_file

SOURCE = """
from torch import nn


def net(classes, width=8):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Dropout(), nn.Linear(width, classes))
"""
SHAPES = {"1.weight": (8, 784), "1.bias": (8,), "4.weight": (10, 8), "4.bias": (10,)}
CONFIG: dict[str, Any] = yaml.safe_load("""
name: own
datasets: {digits: {source: bundled-mnist, images: 2}}
models:
  net: {factory: "module:nets.small.net", arguments: {classes: $num_classes}}
  other: {factory: "module:other.net", arguments: {classes: $num_classes}}
  stored: {factory: "module:other.net", arguments: {classes: $num_classes}, weights: stored.safetensors}
scenarios:
  fresh: {victims: 1, max_iterations: 2}
  trained: {victims: 1, max_iterations: 2, federated_rounds: 1, training_clients: 1, training_batch_size: 4,
            training_images: 8, test_images: 8}
grids:
  - {scenario: fresh, datasets: [digits], models: [mlp, net, other, stored], dropout_rates: ["0.5"], attacks: [dia],
     seeds: [0]}
  - {scenario: trained, datasets: [digits], models: [net], dropout_rates: ["0.5"], attacks: [ig], seeds: [0]}
tables: []
figures: []
""")
CELLS = Path("results/own/cells")
NET = ["fresh/digits/net/p0.5/dia/seed0", "trained/digits/net/p0.5/ig/seed0"]
OTHERS = [f"fresh/digits/{model}/p0.5/dia/seed0" for model in ("mlp", "other", "stored")]
TARGETS = [CELLS / f"{cell}.parquet" for cell in NET + OTHERS]  # what is made of them has tests of its own


def store(folder: Path, value: float) -> None:
    weights = {name: np.full(shape, value, dtype=np.float32) for name, shape in SHAPES.items()}
    save_file(weights, folder / "stored.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    workplace = Workplace(tmp_path_factory.mktemp("own"))
    (workplace.folder / "nets").mkdir()
    for name in ("nets/small.py", "other.py"):
        (workplace.folder / name).write_text(SOURCE)
    store(workplace.folder, 0.01)
    workplace.snakemake(*TARGETS, "--configfile", workplace.config(CONFIG))
    return workplace


def test_an_edit_reruns_the_cells_of_the_model_and_trains_it_anew(finished: Workplace) -> None:
    config, path = finished.folder / "config.yaml", finished.folder / "nets/small.py"
    assert finished.planned(*TARGETS, "--configfile", config) == {}

    path.write_text(f"# A comment.\n{SOURCE}")
    assert finished.planned(*TARGETS, "--configfile", config) == {}

    path.write_text(SOURCE.replace("nn.ReLU()", "nn.Tanh()"))
    planned = finished.planned(*TARGETS, "--configfile", config)
    assert (planned["attack"], planned["train"]) == (2, 1)
    assert "victims" not in planned

    finished.snakemake("partial", "--configfile", config)  # rows of the old version are left out, by name
    log = (finished.folder / "results/own/logs/partial/list_cells.log").read_text()
    assert all(f"left out {cell}: made with other settings: " in log for cell in NET)
    assert "3 of 5 cells are finished" in log

    before = {cell: pq.read_table(finished.folder / CELLS / f"{cell}.parquet").to_pylist()[0] for cell in NET}
    finished.snakemake(*TARGETS, "--configfile", config, "--config", "replace=true")
    for cell, old in before.items():
        (new,) = pq.read_table(finished.folder / CELLS / f"{cell}.parquet").to_pylist()
        assert new["model_definition"] != old["model_definition"]
        assert new["matching_distance"] != old["matching_distance"]
    assert finished.planned(*TARGETS, "--configfile", config) == {}


def test_other_weights_in_the_file_rerun_the_cells_of_the_model(finished: Workplace) -> None:
    config = finished.folder / "config.yaml"
    path = CELLS / f"{OTHERS[2]}.parquet"
    before = pq.read_table(finished.folder / path).to_pylist()[0]
    store(finished.folder, 0.01)  # written again, and the same
    assert finished.planned(path, "--configfile", config) == {}

    store(finished.folder, -0.02)
    assert finished.planned(path, "--configfile", config)["attack"] == 1
    finished.snakemake(path, "--configfile", config, "--config", "replace=true")
    (after,) = pq.read_table(finished.folder / path).to_pylist()
    assert after["gradient_norm"] != before["gradient_norm"]
    assert finished.planned(path, "--configfile", config) == {}

    (finished.folder / "stored.safetensors").unlink()
    refused = finished.snakemake(path, "--configfile", config, status=1)
    assert "weights stored.safetensors: cannot be read (No such file or directory)" in refused
    assert "Traceback" not in refused
