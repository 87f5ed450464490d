"""Every study is planned at full size and at reduced size; one runs end to end, reduced."""

from pathlib import Path

import pytest

from dia.config import Config

from .conftest import ROOT, Workplace

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


def test_a_reduced_study_runs_offline(workplace: Workplace) -> None:
    study = ROOT / "config" / "studies" / "batch_size.yaml"
    cell = "results/batch_size-reduced/cells/n16/mnist/mlp/p0.5/dia/seed0.parquet"
    workplace.snakemake(cell, "--configfile", study, "--config", "reduced=true")
    assert (workplace.folder / cell).stat().st_size > 0
