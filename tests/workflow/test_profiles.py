"""Jobs under the shipped profiles; tests/slurm runs the one for Slurm on a real cluster."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.workplace import ROOT, Workplace

CONFIG = ROOT / "config" / "test.yaml"
CELL = "results/test/cells/default/mnist/mlp/p0.5/dia/seed0.parquet"


def commands(workplace: Workplace, *arguments: str | Path) -> str:
    """A dry run of one cell with its command."""
    return workplace.snakemake(CELL, "-n", "--printshellcmds", *arguments, "--configfile", CONFIG)


def test_slurm_profile_works_straight_from_a_clone(workplace: Workplace) -> None:
    assert (ROOT / "slurm").resolve() == ROOT / "profiles" / "slurm"
    printed = commands(workplace, "--profile", "slurm")
    resources = re.search(r"rule attack:.*?resources: (.*?)\n", printed, re.DOTALL)
    assert resources is not None
    given = set(resources.group(1).split(", "))
    assert {"gpu=1", "mem_mb=8000", "runtime=240", "slurm_extra=--signal=USR1@120"} <= given
    assert "--exclusive-gpu 0" in printed and "--threads 2" in printed  # Slurm binds its jobs itself
    assert "exec python -m dia attack" in printed


def test_slurm_profile_is_overridden_for_one_run(workplace: Workplace) -> None:
    printed = commands(
        workplace, "--profile", "slurm", "--set-resources", "attack:gpu=0", "attack:runtime=60"
    )  # what is not named stays
    assert "gpu=0" in printed and "runtime=60" in printed and "mem_mb=8000" in printed


def test_a_type_of_gpu_and_own_options_reach_slurm(workplace: Workplace) -> None:
    """With the lines that docs/cluster.md tells people to write."""
    text = (ROOT / "docs" / "cluster.md").read_text()
    shown = [re.search(rf"^  {key}: (\".*?\")", text, re.MULTILINE) for key in ("gres", "slurm_extra")]
    profile = (ROOT / "profiles" / "slurm" / "config.yaml").read_text()
    gres, extra = (match[1] for match in shown if match)
    profile = re.sub(r"^  gpu: 1", f"  gres: {gres}", profile, flags=re.MULTILINE)
    profile = re.sub(r"^  slurm_extra: .*", f"  slurm_extra: {extra}", profile, flags=re.MULTILINE)
    (workplace.folder / "mine").mkdir()
    (workplace.folder / "mine" / "config.yaml").write_text(profile)
    printed = commands(workplace, "--profile", workplace.folder / "mine")
    resources = re.search(r"rule attack:.*?resources: (.*?)\n", printed, re.DOTALL)
    assert resources is not None
    assert "gres=gpu:a100:1" in resources[1] and " gpu=" not in resources[1]
    assert "slurm_extra=--signal=USR1@120 --qos=long --exclude=node13" in resources[1]


def test_a_workstations_cells_have_a_gpu_of_their_own(workplace: Workplace) -> None:
    printed = commands(workplace, "--profile", "profiles/local")
    assert "--exclusive-gpu 1" in printed and "gpu=1" in printed


def test_without_a_profile_nothing_is_bound(workplace: Workplace) -> None:
    assert "--exclusive-gpu 0" in commands(workplace)


@pytest.mark.skipif(torch.cuda.is_available(), reason="makes GPUs up, where there are none")
def test_jobs_of_a_workstation_are_bound_to_distinct_gpus(
    workplace: Workplace, test_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two made-up GPUs, three cells: two run at a time, each on its own, and the third on the one freed first."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"GPU-{workplace.folder.name}-A,GPU-{workplace.folder.name}-B")
    del test_config["grids"][1]
    test_config["grids"][0]["dropout_rates"] = ["0.5"]
    test_config["execution"] = {"device": "auto"}
    test_config["scenarios"]["default"]["max_iterations"] = 200
    config = workplace.config(test_config)
    cells = [CELL.replace("/dia/", f"/{attack}/") for attack in ("ig", "wiig", "dia")]
    arguments = ("--profile", "profiles/local", "--resources", "gpu=2", "--cores", "4")
    printed = workplace.snakemake(*cells, *arguments, "--configfile", config)
    assert re.findall(r"Execute (\d) jobs", printed)[-2:] == ["2", "1"]
    logs = [
        (workplace.folder / f"results/test/logs/attack/default/mnist/mlp/p0.5/{a}/seed0.log")
        for a in ("ig", "wiig", "dia")
    ]
    used = [re.search(r"on GPU GPU-\S+-([AB])", log.read_text()) for log in logs]
    assert {match.group(1) for match in used if match} == {
        "A",
        "B",
    } and all(used)
