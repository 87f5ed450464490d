"""config/reproduction.yaml is planned at full and at reduced size, without the authors' images; a cell of it runs."""

import json
import re

import pytest
from helpers.workplace import ROOT, Workplace

from dia.cli import main
from dia.config.config import Config

CONFIG = ROOT / "config" / "reproduction.yaml"
OFFLINE = {
    "mnist": {"source": "bundled-mnist"},
    "cifar10": {"source": "bundled-photos", "size": 32, "num_classes": 10},
}
"""What stands in for the sources that the head of the config names."""


def test_it_is_planned_and_runs_on_victim_sets_of_other_images(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = re.findall(r"dia victims --name (\w+) --out (\S+)", CONFIG.read_text())
    assert dict(commands) == {name: f"data/{name}_128.npz" for name in OFFLINE}
    monkeypatch.chdir(workplace.folder)
    for name, out in commands:
        definition = json.dumps(OFFLINE[name])
        assert main(["victims", "--name", name, "--out", out, "--dataset-json", definition]) == 0
    config = Config.from_file(CONFIG)
    planned = workplace.planned("--configfile", CONFIG)
    assert (planned["attack"], planned["victims"]) == (len(config.cells), len(config.datasets))
    cell = "cells/default/cifar10/vit/p0.5/dia_lbfgs/seed0.parquet"
    reduced = ("--configfile", CONFIG, "--config", "reduced=true")
    workplace.snakemake(f"results/reproduction-reduced/{cell}", *reduced)
    assert (workplace.folder / "results" / "reproduction-reduced" / cell).stat().st_size > 0


def test_its_most_informative_grids_come_first() -> None:
    """Whoever stops it early has one seed of each architecture."""
    config = Config.from_file(CONFIG)
    first_of_others = next(number for number, grid in enumerate(config.grids) if 0 not in grid.seeds)
    begun = config.grids[:first_of_others]
    assert {model for grid in begun for model in grid.models} == {"mlp", "lenet", "resnet18", "vit"}
    assert all(grid.seeds == (0,) for grid in begun)
