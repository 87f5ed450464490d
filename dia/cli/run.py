"""``dia run``: the workflow for one config, and a short summary of what a dry run would do."""

import argparse
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SNAKEFILES = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")
"""Places where Snakemake looks for a workflow."""
DRY_RUN = {"-n", "--dry-run", "--dryrun"}
BRIEF = ("--quiet", "host", "reason", "rules")


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run the workflow for a config; with --dry-run say what it would do",
        description="Run `snakemake TARGET ... --configfile FILE` in a clone of the repository. With --dry-run: what "
        "would run, which finished cells it would replace, and how long it would take.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("config", type=Path, metavar="FILE", help="the config")
    parser.add_argument(
        "rest",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="targets (all results, where there are none), then Snakemake's options, such as --profile slurm",
    )


def run(args: argparse.Namespace) -> int:
    """Become Snakemake, or sum up its dry run.

    Raises:
        ConfigError: There is no config, or no workflow here.
        ModuleNotFoundError: Snakemake is not installed.
    """
    from dia.config.config import Config
    from dia.errors import ConfigError
    from dia.utils.yaml_file import read_yaml

    if find_spec("snakemake") is None:
        raise ModuleNotFoundError("No module named 'snakemake'", name="snakemake")
    if not args.config.is_file():
        raise ConfigError(f"the config {args.config} is not there; say `dia run FILE [TARGET ...] [options]`")
    if not any(map(os.path.exists, SNAKEFILES)):
        raise ConfigError(f"{Path.cwd()} has no {SNAKEFILES[0]}: run it in a clone of the repository")
    read_yaml(args.config, "config")  # Snakemake would refuse what is no YAML without its line
    command = [sys.executable, "-m", "snakemake", *args.rest]
    if not DRY_RUN & set(args.rest):
        sys.stdout.flush()
        os.execv(sys.executable, [*command, "--configfile", str(args.config)])
    done = subprocess.run(
        [*command, *BRIEF, "--configfile", str(args.config)], text=True, capture_output=True
    )
    print(
        "\n".join(_summary(done.stdout + done.stderr)) if done.returncode == 0 else done.stdout + done.stderr
    )
    if done.returncode == 0 and "--config" not in args.rest:
        print(_cost(Config.from_file(args.config)))
    return done.returncode


def _summary(printed: str) -> list[str]:
    """The lines of a brief dry run that matter: how many jobs of each rule, and what is replaced."""
    table = re.search(
        r"^Job stats:\njob +count\n[- ]+\n(.*?)\ntotal +(\d+)", printed, re.MULTILINE | re.DOTALL
    )
    if table is None:
        return ["Nothing would run: everything is there." if "Nothing to be done" in printed else printed]
    counts = [line.split() for line in table[1].splitlines()]
    jobs = ", ".join(f"{count} {rule}" for rule, count in counts if rule != "all")
    replaced = re.search(
        r"^\d+ finished cells? will be replaced.*?replace=true$", printed, re.MULTILINE | re.DOTALL
    )
    return [f"Would run: {jobs}.", replaced[0] if replaced else "No finished cell would be replaced."]


def _cost(config: Any) -> str:
    """The time that the cells without a result take, as `dia status` estimates it."""
    from dia.cli.status import estimate
    from dia.reporting.status import grid_status, seconds_left

    cells = grid_status(config)
    waiting = sum(cell.state != "done" for cell in cells)
    told = f"{waiting} of {len(cells)} cells have no result yet."
    return f"{told} {estimate(*seconds_left(cells), jobs=1)}" if waiting else told
