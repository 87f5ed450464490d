"""Every study is planned at full size and at reduced size; one runs end to end, reduced."""

from pathlib import Path

import pytest
from helpers.workplace import ROOT, Workplace

from dia.config.config import Config

STUDIES = sorted((ROOT / "config" / "studies").glob("*.yaml"))


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_planned(workplace: Workplace, study: Path) -> None:
    config = Config.from_file(study)
    assert config.name == study.stem
    assert len(config.scenarios) > 1
    planned = workplace.planned("--configfile", study)
    assert (planned["attack"], planned["victims"]) == (len(config.cells), len(config.datasets))


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_planned_reduced(workplace: Workplace, study: Path) -> None:
    config = Config.from_file(study)
    printed = workplace.snakemake("-n", "--configfile", study, "--config", "reduced=true")
    assert f"results/{study.stem}-reduced/cells/" in printed
    assert f"results/{study.stem}/" not in printed
    for scenario in config.scenarios:
        assert f"results/{study.stem}-reduced/cells/{scenario}/" in printed
    assert "torchvision" not in printed


ONE_CELL = {
    "batch_size": "n16/mnist/mlp/p0.5/dia/seed0",
    "defences": "clip_and_noise/mnist/lenet/p0.5/ig/seed0",
    "label_inference": "inferred_n4/cifar10/mlp/p0.5/dia/seed0",
    "local_steps": "epoch4_batch1/mnist/lenet/p0.5/dia/seed0",
    "trained_models": "rounds10/cifar10/lenet/p0.5/wiig/seed0",
    "unknown_rate": "unknown/mnist/mlp/p0.5/dia/seed0",
}
"""A cell of each study that brings a part of its own into the workflow."""


@pytest.mark.parametrize("study", ONE_CELL)
def test_a_reduced_study_runs_offline(workplace: Workplace, study: str) -> None:
    config = ROOT / "config" / "studies" / f"{study}.yaml"
    cell = f"results/{study}-reduced/cells/{ONE_CELL[study]}.parquet"
    workplace.snakemake(cell, "--configfile", config, "--config", "reduced=true")
    assert (workplace.folder / cell).stat().st_size > 0
    assert workplace.planned(cell, "--configfile", config, "--config", "reduced=true") == {}


def test_trained_models_are_planned_once_each(workplace: Workplace) -> None:
    """Three attacks share a model; the untrained scenario has none."""
    study = ROOT / "config" / "studies" / "trained_models.yaml"
    planned = workplace.planned("--configfile", study)
    assert (planned["train"], planned["collect_utility"]) == (3 * 2 * 3 * 5 * 3, 1)
    assert planned["attack"] == 4 * 2 * 3 * 5 * 3 * 3
    assert "train" not in workplace.planned("--configfile", ROOT / "config" / "test.yaml")
