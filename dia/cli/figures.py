"""``dia figures``: one figure from the collected rows, or from cell files where it shows images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = ("scenario", "dataset", "model", "seed")


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    from dia.reporting.figures import KINDS

    parser = subparsers.add_parser(
        "figures",
        help="draw a figure",
        description="Draw one figure in the formats of the suffixes. "
        + " ".join(f"{name}: {kind.shows}." for name, kind in KINDS.items()),
    )
    parser.add_argument("figure", choices=KINDS, help="which figure")
    parser.add_argument(
        "--job-list", type=Path, metavar="FILE", help="JSON lines from `dia cells`, for reconstructions"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="the config, for all other figures")
    parser.add_argument("--results", type=Path, metavar="FILE", help="from `dia collect`, likewise")
    parser.add_argument("--scenario", help="default: the first one, where the figure shows one")
    parser.add_argument("--dataset", help="likewise")
    parser.add_argument("--model", help="likewise")
    parser.add_argument("--seed", type=int, help="likewise")
    parser.add_argument("--rows", type=int, default=4, metavar="N", help="victims to show (default 4)")
    parser.add_argument("--out", type=Path, required=True, nargs="+", metavar="FILE", help=".png, .pdf")


def run(args: argparse.Namespace) -> int:
    """Draw the figure."""
    from dia.reporting.figures import KINDS
    from dia.reporting.figures.style import save

    kind = KINDS[args.figure]
    figure = _from_cells(args) if kind.cell_files else _from_rows(args, kind.axes)
    for path in args.out:
        save(figure, path)
    return 0


def _chosen(args: argparse.Namespace, axis: str, values: list[Any], origin: object) -> Any:
    """The value of an axis that is asked for, or the first one."""
    from dia.errors import ConfigError

    wanted = getattr(args, axis)
    if wanted is not None and wanted not in values:
        raise ConfigError(f"--{axis} {wanted}: {origin} has {', '.join(map(str, values)) or 'none'}")
    return values[0] if wanted is None and values else wanted


def _needed(args: argparse.Namespace, *names: str) -> None:
    from dia.errors import ConfigError

    if missing := [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is None]:
        raise ConfigError(f"the figure {args.figure} needs {' and '.join(missing)}")


def _from_cells(args: argparse.Namespace) -> "Figure":
    from dia.errors import ConfigError
    from dia.reporting.figures.reconstructions import reconstructions
    from dia.results import read_job_list

    _needed(args, "job_list")
    if args.rows < 1:
        raise ConfigError(f"--rows is {args.rows}; at least 1 victim must be shown")
    jobs = read_job_list(args.job_list)
    for axis in AXES:
        values = list(dict.fromkeys(getattr(cell, axis) for cell, _ in jobs))
        chosen = _chosen(args, axis, values, args.job_list)
        jobs = [job for job in jobs if getattr(job[0], axis) == chosen]
    if not jobs:
        raise ConfigError(f"{args.job_list} lists no cell")
    return reconstructions(jobs, args.rows)


def _from_rows(args: argparse.Namespace, axes: tuple[str, ...]) -> "Figure":
    import importlib

    from dia.config.config import Config
    from dia.reporting.figures.rows import NothingToShow
    from dia.reporting.figures.style import placeholder
    from dia.reporting.tables import expected_cells

    _needed(args, "config", "results")
    expected = expected_cells(Config.from_file(args.config))
    where, left = {}, expected
    for axis in axes:
        where[axis] = _chosen(args, axis, list(dict.fromkeys(left[axis])), args.config)
        left = left[left[axis] == where[axis]]
    draw = getattr(importlib.import_module(f"dia.reporting.figures.{args.figure}"), args.figure)
    try:
        figure: Figure = draw(args.results, expected, **where)
    except NothingToShow as nothing:  # of a grid that is still running, not an error
        print(nothing)
        return placeholder("none of this figure's cells is finished yet")
    return figure
