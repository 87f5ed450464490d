"""Interruptions: killed cells, a second Snakemake, a killed Snakemake. tests/slurm has those of a real Slurm."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from helpers.fault_configs import IG, attempt, grid, mapping, written
from helpers.polling import wait_for
from helpers.slow_model import set_pace
from helpers.workplace import ROOT, Workplace

KILLED, STOPPED = (f"long/mnist/slow/p0.5/{attack}/seed0" for attack in ("dia", "wiig"))


def start(workplace: Workplace, *arguments: str | Path) -> "subprocess.Popen[str]":
    """Start Snakemake in a session of its own."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    with (workplace.folder / "printed").open("w") as printed:
        return subprocess.Popen(
            [*command, "--directory", str(workplace.folder), *map(str, arguments)],
            cwd=ROOT, text=True, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def attacking(workplace: Workplace, cell: str, number: int = 1) -> int:
    """Wait until a cell is being attacked; the process."""
    log = workplace.folder / f"results/faults/logs/attack/{cell}.log"

    def begun() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return attempt(workplace, cell)["attempt"] == number and "dropout sites" in log.read_text()
        return False

    wait_for(begun, f"{cell} to be attacked")
    return int(attempt(workplace, cell)["pid"])


def test_killed_cells_two_snakemakes_and_a_killed_snakemake(workplace: Workplace) -> None:
    """kill -9 and SIGTERM of cells, a second Snakemake meanwhile, then kill -9 of Snakemake itself."""
    shutil.copy(ROOT / "tests" / "helpers" / "slow_model.py", workplace.folder)
    set_pace(workplace.folder, 0.1)
    config = workplace.config(mapping(grid("quick", "ig"), grid("long", "dia", "wiig", models=["slow"])))
    run = start(workplace, "--configfile", config)
    os.kill(attacking(workplace, KILLED), signal.SIGKILL)
    second = workplace.snakemake("--configfile", config, status=1)
    assert "LockException" in second
    os.kill(attacking(workplace, STOPPED), signal.SIGTERM)
    assert run.wait(timeout=120) == 1
    before = written(workplace)
    assert set(before) == {f"{IG}.parquet"}  # it went on after the failures

    workplace.snakemake("partial", "--configfile", config)
    note = (workplace.folder / "results/faults/partial/tables/scenarios.md").read_text()
    assert f"1 of 3 cells; missing: {KILLED} (died without a word on " in note
    assert f"{STOPPED} (interrupted on " in note and "stopped by SIGTERM at iteration " in note
    status = [sys.executable, "-m", "dia", "status", "--config", str(config)]
    printed = subprocess.run(status, cwd=workplace.folder, text=True, capture_output=True, check=True).stdout
    assert "faults: 1 of 3 cells are done; 1 interrupted, 1 failed" in printed

    run = start(workplace, "--configfile", config)
    orphans = [attacking(workplace, cell, 2) for cell in (KILLED, STOPPED)]
    run.kill()
    run.wait()
    set_pace(workplace.folder, 0)
    wait_for(
        lambda: (
            set(written(workplace)) == {f"{cell}.parquet" for cell in (IG, KILLED, STOPPED)}
            or not any(Path(f"/proc/{pid}").exists() for pid in orphans)
        ),
        "what the killed snakemake left running",
    )
    assert "--unlock" in workplace.snakemake("--configfile", config, status=1)
    workplace.snakemake("--unlock", "--configfile", config)
    workplace.snakemake("--configfile", config)
    after = written(workplace)
    assert set(after) == {f"{cell}.parquet" for cell in (IG, KILLED, STOPPED)}
    assert after[f"{IG}.parquet"] == before[f"{IG}.parquet"]  # nothing finished was touched
    assert not list((workplace.folder / "results/faults/checkpoints").rglob("*.npz"))
    assert "3 of 3 cells" in (workplace.folder / "results/faults/tables/scenarios.md").read_text()
