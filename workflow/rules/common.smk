"""Config, names and look-ups that all rules share. Parsed by every job: nothing heavy is imported here."""

import functools
import hashlib
import os
import shlex
import signal
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import IOFile, is_flagged
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod, RerunTrigger
from snakemake.sourcecache import LocalSourceFile
from snakemake.utils import min_version

min_version("9.13")

# In a clone the package lies beside the root Snakefile; a workflow that imports this one from a Git host has only rules.
try:
    import dia
except ModuleNotFoundError:
    raise WorkflowError(
        f"the Python package dia is not installed for {sys.executable}, which runs Snakemake: "
        "pip install 'dropout-inversion-attack[workflow]', of the same version as this workflow"
    ) from None

from dia.config import reduced
from dia.config.as_written import as_written
from dia.config.jobs import attack_job, grid_hash, job_json, training_job, training_jobs
from dia.config.switches import take_switch
from dia.errors import ConfigError, DiaError
from dia.jobs.cell import Cell
from dia.reporting.figures.registry import FIGURES as FIGURE_KINDS, figure_groups
from dia.reporting.tables.declared_reference import declared_reference
from dia.results import replacements
from dia.utils.canonical_json import canonical
from dia.utils.paths import expanded
from dia.utils.patterns import NAME, RATE

# Slurm warns all processes of a job before its time limit; only the attack acts on it, and the snakemake that watches
# over it inside the job must not die of it.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

RULES = workflow.current_basedir


def shipped(path):
    """The path of a file of this repository; fetched, where the workflow is read from a Git host or a commit.

    Raises:
        WorkflowError: Such a repository has no such file.
    """
    if isinstance(RULES, LocalSourceFile):
        return os.path.normpath(f"{RULES}/../../{path}")
    return workflow.source_path(f"../../{path}")


# A config file on the command line replaces the quick start; Snakemake would merge it over a `configfile:`
# statement key by key, so that keys of the quick start would leak into other grids.
if not workflow.overwrite_configfiles:

    configfile: shipped("config/config.yaml")


try:
    origin = ", ".join(map(os.path.relpath, workflow.configfiles)) or "config"
    REPLACE, content = take_switch(as_written(config, workflow.configfiles), replacements.SWITCH, origin)
    CONFIG = reduced.load(content, origin, shipped("config/reduced.yaml"))
    # Figure -> the cells that it shows. Those of images are drawn from the cells' own files, others from the rows.
    FIGURES = {
        name: cells for kind in CONFIG.figures for name, cells in figure_groups(kind, CONFIG.cells).items()
    }
    GRID = grid_hash(CONFIG)
except DiaError as error:
    raise WorkflowError(error) from None

# Jobs use the interpreter that runs Snakemake, so an activated environment is enough, on cluster nodes too;
# with --software-deployment-method conda they use the environment of the rule. The console stays open beside the log: on a
# full disk the log is empty, and the reason is printed there.
PREFIX = "set -euo pipefail; exec 3>&2; export DIA_CONSOLE_FD=3; "
if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
    PREFIX += f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"; '
shell.prefix(PREFIX)


# A table of the working directory comes before one of the same name that comes with the workflow.
def declaration(name):
    path = f"config/tables/{name}.yaml"
    if os.path.exists(path):
        return path
    try:
        if os.path.exists(found := shipped(path)):
            return found
    except WorkflowError:
        pass  # a Git host has no such file
    raise WorkflowError(
        f"tables: {name!r} is not declared: there is no {path}, and none that comes with the workflow"
    )


TABLES = {name: declaration(name) for name in CONFIG.tables}

# What is wrong with a table is said before any cell is attacked; the jobs of the run need not look again.
if workflow.is_main_process:
    from dia.reporting.tables.check import check_tables

    try:
        check_tables(map(str, TABLES.values()))
    except ConfigError as error:
        raise WorkflowError(error) from None

RESULTS = str(CONFIG.results)
ROWS, PARTIAL_ROWS = f"{RESULTS}/results.parquet", f"{RESULTS}/partial/results.parquet"
CELL = "{scenario}/{dataset}/{model}/p{dropout_rate}/{attack}/seed{seed}"
CELLS = {cell.id: cell for cell in CONFIG.cells}
# Cells of earlier grids run first; before them what they need, so that no dataset waits until all cells of another are done.
NEEDED_FIRST = len(CONFIG.grids) + 1
PRIORITIES = {
    cell.id: len(CONFIG.grids) - position
    for position, grid in enumerate(CONFIG.grids)
    for cell in grid.cells()
}
MODEL = "{dataset}/{model}/p{dropout_rate}/seed{seed}/{training}"
MODELS = training_jobs(CONFIG)

FROM_CELLS = [name for name in FIGURES if FIGURE_KINDS[name.split("/")[0]].cell_files]
FROM_RESULTS = [name for name in FIGURES if name not in FROM_CELLS]


def one_of(names):
    """The pattern of a wildcard that is one of these names; without any, a name that no figure has."""
    return "|".join(names) or "none"


wildcard_constraints:
    scenario=NAME,
    dataset=NAME,
    model=NAME,
    dropout_rate=RATE,
    attack=NAME,
    seed="[0-9]+",
    training="rounds[0-9]+-[0-9a-f]+",
    table=NAME,


def cell_files(wildcards):
    """The result files of all cells of the config."""
    return [str(CONFIG.cell_path(cell)) for cell in CONFIG.cells]


def cell_files_of_figure(wildcards):
    """The result files of the cells that a figure shows."""
    return [str(CONFIG.cell_path(cell)) for cell in FIGURES[wildcards.figure]]


def figure_options(wildcards):
    """Arguments of `dia figures`: the kind of figure, and the axes that its cells share."""
    kind, cell = wildcards.figure.split("/")[0], FIGURES[wildcards.figure][0]
    return [kind, *(word for axis in FIGURE_KINDS[kind].axes for word in (f"--{axis}", getattr(cell, axis)))]


def figure_labels(wildcards):
    """Labels of a figure in the report."""
    kind, cell = wildcards.figure.split("/")[0], FIGURES[wildcards.figure][0]
    return {"figure": kind.replace("_", " "), **{a: str(getattr(cell, a)) for a in FIGURE_KINDS[kind].axes}}


@functools.cache
def check_replacements():
    """Say before anything runs which finished cells would be replaced, and stop there unless that is allowed.

    Asked once, when the first cell is planned; not in the jobs that the planned run starts.

    Raises:
        WorkflowError: There are such cells, and the run is no dry run.
    """
    planning = workflow.is_main_process and workflow.executor_plugin is not None
    if not planning or RerunTrigger.PARAMS not in workflow.rerun_triggers:
        return
    jobs = ((attack_job(CONFIG, cell), CONFIG.cell_path(cell)) for cell in CONFIG.cells)
    # Where Snakemake has lost its records it replaces nothing, and whoever reads such a cell refuses it.
    recorded = (job for job in jobs if workflow.persistence.metadata(IOFile(str(job[1]))) is not None)
    if found := replacements.find_replacements(recorded):
        message = replacements.describe_replacements(found)
        if not (REPLACE or workflow.dryrun):
            raise WorkflowError(message)
        logger.warning(message)


def job_of_cell(wildcards):
    """The job of a cell as one canonical text; a change of it reruns the cell."""
    cell_id = CELL.format(**wildcards)
    if cell_id not in CELLS:
        raise WorkflowError(f"{cell_id} is not a cell of the config {CONFIG.name!r}: add it to a grid")
    check_replacements()
    return job_json(CONFIG, CELLS[cell_id])


def priority_of_cell(wildcards):
    """Earlier grids of the config come first; 0 for what is no cell of it, which `job_of_cell` refuses."""
    return PRIORITIES.get(CELL.format(**wildcards), 0)


def trained_model_of_cell(wildcards):
    """The file of the model that a cell attacks; none where it is untrained."""
    job = training_job(CONFIG, CELLS[CELL.format(**wildcards)]) if CELL.format(**wildcards) in CELLS else None
    return [] if job is None else f"{RESULTS}/models/{job.name}.npz"


def job_of_model(wildcards):
    """The job that trains a model, as one canonical text."""
    name = MODEL.format(**wildcards)
    if name not in MODELS:
        raise WorkflowError(f"{name} is not a model that the config {CONFIG.name!r} trains")
    return MODELS[name].canonical_json()


def attempt_of_cell(wildcards):
    """The file in which the attack on a cell records its progress."""
    return str(CONFIG.attempt_path(Cell.parse(CELL.format(**wildcards))))


def checkpoint_of_cell(wildcards):
    """The file in which the attack on a cell saves its state while it runs."""
    return f"{RESULTS}/checkpoints/{CELL.format(**wildcards)}.npz"


def state_of_cells(wildcards):
    """A hash of which result files exist and when they were written."""
    stamps = (
        (cell, os.stat(path).st_mtime_ns)
        for cell, path in zip(CELLS, cell_files(None))
        if os.path.exists(path)
    )
    return hashlib.sha256(repr(sorted(stamps)).encode()).hexdigest()


def source_files(wildcards):
    """The files that a victim set is made from, where the config names one."""
    return [str(expanded(path)) for path in CONFIG.dataset(wildcards.dataset).files()]


def dataset_definition(wildcards):
    """The definition of a dataset as canonical JSON."""
    return canonical(CONFIG.dataset(wildcards.dataset).model_dump(mode="json"))


def tracking_options(wildcards):
    """Arguments of `dia sync` from the config; what is absent has the default of `dia sync`."""
    where = CONFIG.tracking.model_dump(exclude_none=True)
    return [word for key, value in where.items() for word in (f"--{key}", value)]


def table_definition(wildcards):
    """The file that declares a table: one in the working directory, or one that comes with the workflow."""
    if wildcards.table not in TABLES:
        raise WorkflowError(
            f"{wildcards.table} is not a table of the config {CONFIG.name!r}: add it to `tables`"
        )
    return TABLES[wildcards.table]


def reference_values(wildcards):
    """The file of published numbers that a table shows beside ours, where it has one."""
    declared = Path(table_definition(wildcards))
    if not declared.exists():
        return []  # Snakemake says itself that the table is missing
    try:
        given = declared_reference(declared)
    except ConfigError as error:
        raise WorkflowError(error) from None
    if not given:
        return []
    if is_flagged(table_definition(wildcards), "sourcecache_entry"):
        return shipped(f"config/tables/{given}")  # fetched to the same place beside the table
    return os.path.normpath(declared.parent / expanded(given))
