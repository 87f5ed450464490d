"""Cost of the pipeline around the attacks: planning, collecting, surveying and tracking many cells, starting one.

    python benchmarks/pipeline_scaling.py [--cells 1000 10000] [--parts plan collect status sync overhead]

Cells are made up (two victims of 8 by 8 pixels, curves of 100 points) and written to a temporary folder; nothing else
is touched. For each part it prints wall time and CPU time (which other busy programs hardly change) at each size, and
the exponent of the CPU time's growth: 1 is linear.
"""

import argparse
import contextlib
import functools
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # made-up rows are those of the tests

import numpy as np  # noqa: E402
import yaml  # noqa: E402
from helpers import result_rows  # noqa: E402

from dia.config.config import Config  # noqa: E402
from dia.config.jobs import attack_job, job_json  # noqa: E402
from dia.results.cell_file import write_cell  # noqa: E402
from dia.results.job_list import job_list_text  # noqa: E402

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
RATES = ["0", "0.1", "0.25", "0.5", "0.75"]
CURVES = ["history_total_loss", "history_matching_distance", "history_mse", "history_mask_accuracy"]
FOLDERS = contextlib.ExitStack()


def config_of(cells: int) -> dict[str, Any]:
    """A config of about this many cells: 5 rates by 4 attacks by enough seeds."""
    grid = {"datasets": ["mnist"], "models": ["mlp"], "dropout_rates": RATES}
    return {
        "name": f"scale-{cells}",
        "datasets": {"mnist": {"source": "bundled-mnist", "images": 16}},
        "scenarios": {"default": {"victims": 2}},
        "grids": [{**grid, "attacks": ["ig", "wiig", "dia", "analytic"], "seeds": list(range(cells // 20))}],
    }


class Took(NamedTuple):
    """Seconds by the clock, and of the processors."""

    wall: float
    cpu: float


def took(what: Callable[[], Any]) -> Took:
    """Time of a call of other programs."""

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    wall_before, cpu_before = time.perf_counter(), cpu()
    what()
    return Took(time.perf_counter() - wall_before, cpu() - cpu_before)


def command(*words: str | Path, cwd: Path) -> Took:
    """Time of a Python module run as a program; shows its output only when it fails."""

    def run() -> None:
        done = subprocess.run(
            [sys.executable, "-m", *map(str, words)], cwd=cwd, env=ENVIRONMENT, text=True, capture_output=True
        )
        if done.returncode:
            sys.exit(done.stdout[-2000:] + done.stderr[-2000:])

    return took(run)


@functools.cache
def written(cells: int) -> Path:
    """A folder with a config, all its cells and their job list; it is there until the program ends."""
    folder = Path(FOLDERS.enter_context(tempfile.TemporaryDirectory()))
    (folder / "config.yaml").write_text(yaml.safe_dump(config_of(cells)))
    config = Config.from_file(folder / "config.yaml")
    for cell in config.cells:
        curves = {name: np.linspace(1, 0, 100) for name in CURVES[: 4 if cell.attack == "dia" else 3]}
        curves["history_iteration"] = np.arange(0, 1000, 10)
        rows = result_rows.rows(cell, **config.settings(cell).model_dump(), **curves)
        write_cell(folder / config.cell_path(cell), rows, attack_job(config, cell))
    jobs = ((attack_job(config, cell), config.cell_path(cell)) for cell in config.cells)
    (folder / "cells.jsonl").write_text(job_list_text(jobs))
    return folder


def plan(cells: int) -> Took:
    """A dry run with nothing done yet."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.yaml")
        file.write_text(yaml.safe_dump(config_of(cells)))
        where = ("--snakefile", ROOT / "Snakefile", "--directory", folder)
        return command("snakemake", *where, "-n", "--quiet", "all", "--configfile", file, cwd=ROOT)


def collect(cells: int) -> Took:
    """``dia collect`` of all cells."""
    return command("dia", "collect", "--job-list", "cells.jsonl", "--out", "r.parquet", cwd=written(cells))


def status(cells: int) -> Took:
    """``dia status`` of all cells."""
    return command("dia", "status", "--config", "config.yaml", cwd=written(cells))


def sync(cells: int) -> Took:
    """``dia sync`` of all cells to a fresh SQLite file."""
    for file in written(cells).glob("results/*/mlflow.db"):
        file.unlink()
    return _sync(cells)


def sync_again(cells: int) -> Took:
    """A second ``dia sync``, which finds every run as it should be."""
    if not list(written(cells).glob("results/*/mlflow.db")):
        _sync(cells)
    return _sync(cells)


def _sync(cells: int) -> Took:
    return command("dia", "sync", "--config", "config.yaml", "--job-list", "cells.jsonl", cwd=written(cells))


PARTS: dict[str, Callable[[int], Took]] = {
    "plan": plan,
    "collect": collect,
    "status": status,
    "sync": sync,
    "sync_again": sync_again,
}


def grow(part: str, sizes: list[int]) -> None:
    """Print what a part takes at each size, and the exponent of its growth."""
    times = []
    for size in sizes:
        times.append(PARTS[part](size))
        wall, cpu = times[-1]
        print(
            f"{part:12}{size:>7} cells{wall:>8.1f} s wall{cpu:>8.1f} s CPU{1000 * cpu / size:>8.1f} ms CPU a cell",
            flush=True,
        )
    if len(sizes) > 1:
        exponent = math.log(times[-1].cpu / times[0].cpu) / math.log(sizes[-1] / sizes[0])
        print(f"{part:12}grows as cells^{exponent:.2f}", flush=True)


STEPS = """
import json, sys, time
began = time.process_time()
def step(name):
    global began
    now = time.process_time()
    print(json.dumps([name, now - began]))
    began = time.process_time()
import torch; step("import torch")
import pyarrow.parquet; step("import pyarrow")
from dia.execution.code_version import import_numeric_code
import_numeric_code(); step("fingerprint of the code, twice, and import dia")
import dia.results.cell_file
from pathlib import Path
from dia.jobs.attack_job import AttackJob
from dia.datasets.victim_set import VictimSet
from dia.execution.checkpoint import Checkpointer
from dia.execution.run_cell import fingerprint, run_cell
from dia.execution.signals import StopRequest
job, victims = AttackJob.parse(sys.argv[1]), VictimSet.load(Path(sys.argv[2])); step("read the victims")
checkpoint = Checkpointer(Path("c.npz"), fingerprint(job, victims), print, StopRequest())
run_options = dict(device="cpu", threads=1, victims_per_chunk=None, checkpointer=checkpoint)
rows = run_cell(job, victims, **run_options)
step("model, gradient, one iteration, scores")
dia.results.cell_file.write_cell("cell.parquet", rows, job); step("write the rows")
"""


def overhead() -> None:
    """Cost of a cell besides its iterations: 16 victims, a single iteration, one core."""
    mapping = config_of(20)
    mapping["scenarios"]["default"] = {"victims": 16, "max_iterations": 1}
    config = Config.load(mapping)
    job = job_json(config, next(cell for cell in config.cells if cell.attack == "dia" and cell.p == 0.5))
    with tempfile.TemporaryDirectory() as name, pinned_to_one_core():
        folder = Path(name)
        definition = json.dumps({"source": "bundled-mnist", "images": 16})
        command(
            "dia", "victims", "--dataset-json", definition, "--name", "mnist", "--out", "v.npz", cwd=folder
        )
        words = ("dia", "attack", "--job", job, "--victims", "v.npz", "--out", "c.parquet", "--device", "cpu")
        command(*words, cwd=folder)  # warms the caches of the file system
        wall, cpu = min(command(*words, cwd=folder) for _ in range(3))
        print(
            f"overhead: {wall:.2f} s wall, {cpu:.2f} s CPU for `dia attack`, 16 victims, one iteration; CPU made of"
        )
        empty = min(
            took(lambda: subprocess.run([sys.executable, "-c", ""], check=True)).cpu for _ in range(3)
        )
        print(f"{'':12}{empty:6.2f} s start of Python")
        steps = subprocess.run(
            [sys.executable, "-c", STEPS, job, "v.npz"],
            cwd=folder, env=ENVIRONMENT, text=True, capture_output=True, check=True,
        )  # fmt: skip
        for line in steps.stdout.splitlines():
            if line.startswith("["):
                what, cpu = json.loads(line)
                print(f"{'':12}{cpu:6.2f} s {what}")


@contextlib.contextmanager
def pinned_to_one_core() -> Iterator[None]:
    """Children run on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, nargs="+", default=[1000, 10000], metavar="N")
    parser.add_argument("--parts", nargs="+", default=[*PARTS, "overhead"], choices=[*PARTS, "overhead"])
    args = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with FOLDERS:
        for part in args.parts:
            overhead() if part == "overhead" else grow(part, args.cells)


if __name__ == "__main__":
    main()
