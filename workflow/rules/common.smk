"""Config, names and look-ups that all rules share. Parsed by every job: nothing heavy is imported here."""

import hashlib
import os
import shlex
import signal
import sys
from collections import defaultdict
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import min_version

from dia import reduction
from dia.cell import NAME, RATE, Cell
from dia.config import job_json
from dia.errors import ConfigError
from dia.job import canonical

min_version("9.13")

# Slurm warns all processes of a job before its time limit; only the attack acts on it, and the snakemake that watches
# over it inside the job must not die of it.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# A config file on the command line replaces the quick start; Snakemake would merge it over a `configfile:`
# statement key by key, so that keys of the quick start would leak into other grids.
if not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config/config.yaml"


try:
    origin = ", ".join(map(os.path.relpath, workflow.configfiles)) or "config"
    CONFIG = reduction.load(config, origin, f"{workflow.basedir}/config/reduced.yaml")
except ConfigError as error:
    raise WorkflowError(error) from None

# Jobs use the interpreter that runs Snakemake, so an activated environment is enough, on cluster nodes too;
# with --software-deployment-method conda they use the environment of the rule.
if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
    shell.prefix(f'set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"; ')

RESULTS = str(CONFIG.results)
CELL = "{scenario}/{dataset}/{model}/p{dropout_rate}/{attack}/seed{seed}"
CELLS = {cell.id: cell for cell in CONFIG.cells}

# A figure shows all rates and attacks of one such group.
FIGURE = "reconstructions/{scenario}/{dataset}/{model}/seed{seed}"
FIGURE_AXES = ("scenario", "dataset", "model", "seed")
FIGURES = defaultdict(list)
for cell in CONFIG.cells:
    FIGURES[FIGURE.format(**cell.axes())].append(cell)


wildcard_constraints:
    scenario=NAME,
    dataset=NAME,
    model=NAME,
    dropout_rate=RATE,
    attack=NAME,
    seed="[0-9]+",
    table=NAME,


def cell_files(wildcards):
    """The result files of all cells of the config."""
    return [str(CONFIG.cell_path(cell)) for cell in CONFIG.cells]


def cell_files_of_figure(wildcards):
    """The result files of the cells that a figure shows."""
    return [str(CONFIG.cell_path(cell)) for cell in FIGURES[FIGURE.format(**wildcards)]]


def job_of_cell(wildcards):
    """What the attack on a cell is told, as one canonical text; a change of it reruns the cell."""
    cell_id = CELL.format(**wildcards)
    if cell_id not in CELLS:
        raise WorkflowError(f"{cell_id} is not a cell of the config {CONFIG.name!r}: add it to a grid")
    return job_json(CONFIG, CELLS[cell_id])


def attempt_of_cell(wildcards):
    """Where the attack on a cell notes how far it is."""
    return str(CONFIG.attempt_path(Cell.parse(CELL.format(**wildcards))))


def checkpoint_of_cell(wildcards):
    """Where the attack on a cell saves its state while it runs."""
    return f"{RESULTS}/checkpoints/{CELL.format(**wildcards)}.npz"


def state_of_cells(wildcards):
    """Which result files are there and when they were written, in short."""
    stamps = (
        (cell, os.stat(path).st_mtime_ns)
        for cell, path in zip(CELLS, cell_files(None))
        if os.path.exists(path)
    )
    return hashlib.sha256(repr(sorted(stamps)).encode()).hexdigest()


def source_files(wildcards):
    """The files that a victim set is made from, where the config names one."""
    path = getattr(CONFIG.dataset(wildcards.dataset), "path", None)
    return [] if path is None else [path]


def dataset_definition(wildcards):
    """The definition of a dataset as canonical JSON."""
    return canonical(CONFIG.dataset(wildcards.dataset).model_dump(mode="json"))


def tracking_options(wildcards):
    """Where the config wants its runs; the defaults are those of `dia sync`."""
    where = CONFIG.tracking.model_dump(exclude_none=True)
    return [word for key, value in where.items() for word in (f"--{key}", value)]


def table_definition(wildcards):
    """The file that declares a table."""
    return f"{workflow.basedir}/config/tables/{wildcards.table}.yaml"
