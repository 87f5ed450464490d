"""The workflow on a real Slurm: the numbers of a local run, and a night on which cells fail."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cluster
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import PATIENCE, ROOT, Workplace
from helpers.polling import wait_for
from helpers.slow_model import set_pace

from dia.config.config import Config
from dia.config.jobs import job_json

CONFIG = ROOT / "config" / "test.yaml"
NOT_NUMBERS = {"seconds", "started_at", "peak_memory_mb"}


def assert_same_numbers(one: Path, other: Path) -> None:
    """Every column of two cell files."""
    first, second = pq.read_table(one).to_pylist(), pq.read_table(other).to_pylist()
    for left, right in zip(first, second, strict=True):
        for name in set(left) - NOT_NUMBERS:
            np.testing.assert_array_equal(left[name], right[name], err_msg=f"{one.name}: {name}")


def test_the_numbers_are_those_of_a_local_run(
    workplace: Workplace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = Config.from_file(CONFIG)
    printed = workplace.snakemake("--configfile", CONFIG)
    assert (
        printed.count("has been submitted with SLURM jobid") == 8
    )  # every cell is one job, all else is local
    assert "gpu=1" in printed and "mem_mb=8000" in printed and "runtime=240" in printed
    assert "Provided remote nodes: 100" in printed  # the most that Snakemake queues at a time
    assert "8 of 8 cells" in (workplace.folder / "results/test/tables/dropout.md").read_text()
    assert {workplace.attempt(config, cell)["state"] for cell in config.cells} == {"done"}
    assert all(workplace.attempt(config, cell)["job_id"] for cell in config.cells)

    local = Workplace(tmp_path_factory.mktemp("local"))
    local.snakemake("results/test/results.parquet", "--configfile", CONFIG, profile=None)
    for cell in config.cells:
        assert_same_numbers(workplace.cell_file(config, cell), local.cell_file(config, cell))
    # The same folder goes on locally: nothing is left to do.
    assert "Nothing to be done" in workplace.snakemake("-n", "--configfile", CONFIG, profile=None)


SETTINGS = {"victims": 2, "max_iterations": 20, "history_points": 5}
LONG = {
    **{"victims": 2, "max_iterations": 500, "history_points": 5, "precision": "float64"},
    **{"loss_tolerance": 1e-30, "early_stop_patience": 20000},
}
LONGER = {**LONG, "max_iterations": 1000}  # longer than Slurm takes to warn of a limit of a minute


def night(workplace: Workplace, bad: bool = True, quick_seeds: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """A config of quick cells, long ones, and one whose loss is not finite."""
    shutil.copy(ROOT / "tests" / "helpers" / "slow_model.py", workplace.folder)
    axes = {"datasets": ["mnist"], "dropout_rates": ["0.5"]}
    quick, slow = {**axes, "models": ["mlp"]}, {**axes, "models": ["slow"], "attacks": ["dia"]}
    grids = [
        {"scenario": "quick", **quick, "attacks": ["ig", "wiig"], "seeds": list(quick_seeds)},
        {"scenario": "long", **slow, "seeds": [0, 1]},
        {"scenario": "longer", **slow, "seeds": [0]},
        {"scenario": "bad", **quick, "attacks": ["dia"], "seeds": [0]},
    ]
    arguments = {"shape": [1, 28, 28], "num_classes": "$num_classes", "p": "$dropout_rate"}
    return {
        "name": "night",
        "datasets": {"mnist": {"source": "bundled-mnist", "images": 4}},
        "models": {"slow": {"factory": "module:slow_model.Slow", "arguments": arguments}},
        "scenarios": {
            "quick": SETTINGS,
            "long": LONG,
            "longer": LONGER,
            "bad": {**SETTINGS, "mask_penalty_weight": 1e308},
        },
        "grids": grids if bad else grids[:3],
        "execution": {"device": "cpu"},
        "tables": ["scenarios"],
        "figures": [],
    }


def test_a_night_on_which_cells_fail(workplace: Workplace, slurm: Path) -> None:
    """scancel, kill -9, the time limit and a loss that is not finite; then a node that dies; then all is done."""
    file = workplace.config(night(workplace))
    set_pace(workplace.folder, 0.2)
    config = Config.from_file(file)
    good, cancelled, killed, limited, bad = config.cells[:2], *config.cells[2:]
    cpu_only = ("--set-resources", "attack:gpu=0")

    # The first night. A minute is the shortest limit that Slurm knows, and its warning comes up to a minute early.
    limits = (
        "attack:runtime=1 if wildcards.scenario == 'longer' else 60",
        "attack:slurm_extra='--signal=USR1@5'",
    )
    run = workplace.start("--configfile", file, "--retries", "0", *cpu_only, *limits)
    todo = {
        cancelled: lambda record: subprocess.run(["scancel", record["job_id"]], check=True),
        killed: lambda record: os.kill(record["pid"], signal.SIGKILL),
    }
    while todo:
        for cell in [cell for cell in todo if workplace.is_attacking(config, cell)]:
            todo.pop(cell)(workplace.attempt(config, cell))
        assert run.poll() is None, (workplace.folder / "printed").read_text()
        time.sleep(0.1)
    assert run.wait(timeout=PATIENCE) == 1
    before = workplace.written(config)
    assert set(before) == {cell.id for cell in good}  # the others went on and are whole

    # What became of them is in tables and in `dia status`.
    workplace.snakemake("partial", "--configfile", file, profile=None)
    note = (workplace.folder / "results/night/partial/tables/scenarios.md").read_text()
    assert "2 of 6 cells; missing: " in note
    for cell, reason in (
        (cancelled, "stopped by SIGTERM at iteration "),
        (killed, "died without a word on "),
        (limited, "stopped by SIGUSR1 at iteration "),
        (bad, "AttackError: cell bad/mnist/mlp/p0.5/dia/seed0: 2 of 2 victims failed (victim 0000"),
    ):
        told = note.split(f"{cell.id} (")[1]
        assert reason in told.split("), ")[0], note
        assert f"job {workplace.attempt(config, cell)['job_id']}" in told
    folder = workplace.folder / "results/night/checkpoints"
    checkpoints = {str(path.relative_to(folder)) for path in folder.rglob("*.npz")}
    assert checkpoints == {f"{cell.id}.npz" for cell in (cancelled, limited)}

    # The morning after: the config without the cell that cannot work. Only the missing cells run; the node dies once.
    file = workplace.config(night(workplace, bad=False))
    config = Config.from_file(file)
    run = workplace.start("--configfile", file, *("--retries", "1"), *cpu_only)
    workplace.attacking(config, killed, attempt=2)
    cluster.kill_node(slurm)
    set_pace(workplace.folder, 0)
    cluster.start_node(slurm)
    found = run.wait(timeout=PATIENCE)
    printed = (workplace.folder / "printed").read_text()
    assert found == 0, printed
    assert "mem_mb=16000" in printed and "runtime=480" in printed  # a second attempt gets twice as much
    after = workplace.written(config)
    assert set(after) == {cell.id for cell in config.cells}
    assert {cell: after[cell] for cell in before} == before  # nothing finished was touched
    assert workplace.attempt(config, limited)["attempt"] >= 2
    assert "5 of 5 cells" in (workplace.folder / "results/night/tables/scenarios.md").read_text()
    assert not list((workplace.folder / "results/night/checkpoints").rglob("*.npz"))

    # What was stopped and went on has the numbers of a cell that never was.
    alone = workplace.folder / "alone.parquet"
    command = ["--victims", "results/night/victims/mnist.npz", "--out", str(alone), "--device", "cpu"]
    with contextlib.chdir(workplace.folder):  # where the model's file is, whose version is in the job
        job = job_json(Config.from_file(file), cancelled)
    subprocess.run(
        [sys.executable, "-m", "dia", "attack", "--job", job, *command],
        cwd=workplace.folder, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert_same_numbers(alone, workplace.cell_file(config, cancelled))

    # A longer axis adds its cells alone; a forced cell that Slurm kills for want of memory is given more.
    file = workplace.config(night(workplace, bad=False, quick_seeds=(0, 1)))
    printed = workplace.snakemake("-n", "--configfile", file)
    assert re.search(r"^attack +2$", printed, re.MULTILINE)
    target = config.cell_path(good[0])
    printed = workplace.snakemake(
        target, "--force", "--configfile", file, "--retries", "1",
        *cpu_only, "attack:mem_mb=150 if attempt == 1 else 4000",
    )  # fmt: skip
    assert printed.count("has been submitted with SLURM jobid") == 2
    at_last = workplace.written(config)
    assert {cell for cell in after if at_last[cell] != after[cell]} == {good[0].id}


def test_a_cell_that_snakemake_left_behind_can_be_cancelled(workplace: Workplace, slurm: Path) -> None:
    """kill -9 of Snakemake, then of slurmd, leaves the job running; the attempt record names it."""
    mapping = night(workplace)
    file = workplace.config(mapping | {"grids": mapping["grids"][2:3]})
    set_pace(workplace.folder, 0.2)
    config = Config.from_file(file)
    run = workplace.start("--configfile", file, "--set-resources", "attack:gpu=0")
    record = workplace.attacking(config, config.cells[0])
    run.kill()
    run.wait()
    cluster.kill_daemon(slurm)
    cluster.start_node(slurm)
    squeue = ["squeue", "-h", "-j", record["job_id"], "-o", "%T"]
    assert subprocess.run(squeue, capture_output=True, text=True).stdout.strip() == "RUNNING"
    assert "LockException" in workplace.snakemake("--configfile", file, status=1)
    subprocess.run(["scancel", record["job_id"]], check=True)
    wait_for(lambda: workplace.attempt(config, config.cells[0])["state"] == "interrupted", "the cell to save")
    workplace.snakemake("--unlock", "--configfile", file)
    printed = workplace.snakemake("-n", "--configfile", file)
    assert re.search(r"^attack +1$", printed, re.MULTILINE)
