"""``dia figures``: one figure from the collected rows, or from cell files where it shows images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dia.reporting.figures.registry import FigureKind


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    from dia.reporting.figures.registry import FIGURES

    parser = subparsers.add_parser(
        "figures",
        help="draw a figure",
        description="Draw one figure in the formats of the suffixes. "
        + " ".join(f"{name}: {kind.description}." for name, kind in FIGURES.items()),
    )
    parser.set_defaults(run=run)
    parser.add_argument("figure", choices=FIGURES, help="which figure")
    parser.add_argument(
        "--job-list", type=Path, metavar="FILE", help="JSON lines from `dia cells`, for reconstructions"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="the config, for all other figures")
    parser.add_argument("--results", type=Path, metavar="FILE", help="from `dia collect`, likewise")
    parser.add_argument("--scenario", help="default: the first one, where the figure shows one")
    parser.add_argument("--dataset", help="likewise")
    parser.add_argument("--model", help="likewise")
    parser.add_argument("--attack", help="likewise")
    parser.add_argument("--seed", type=int, help="likewise")
    parser.add_argument("--rows", type=int, default=4, metavar="N", help="victims to show (default 4)")
    parser.add_argument("--out", type=Path, required=True, nargs="+", metavar="FILE", help=".png, .pdf")


def run(args: argparse.Namespace) -> int:
    """Draw the figure."""
    from dia.reporting.figures.registry import FIGURES
    from dia.reporting.figures.style import save

    kind = FIGURES[args.figure]
    figure = _from_cells(args, kind) if kind.cell_files else _from_rows(args, kind)
    for path in args.out:
        save(figure, path)
    return 0


def _from_cells(args: argparse.Namespace, kind: "FigureKind") -> "Figure":
    from dia.errors import ConfigError
    from dia.results.job_list import read_job_list
    from dia.utils.lazy_import import load_object

    _require(args, "job_list")
    if args.rows < 1:
        raise ConfigError(f"--rows is {args.rows}; at least 1 victim must be shown")
    jobs = read_job_list(args.job_list)
    for axis in kind.axes:
        values = list(dict.fromkeys(getattr(job.cell, axis) for job, _ in jobs))
        chosen = _chosen_value(args, axis, values, args.job_list)
        jobs = [(job, path) for job, path in jobs if getattr(job.cell, axis) == chosen]
    if not jobs:
        raise ConfigError(f"{args.job_list} lists no cell")
    figure: Figure = load_object(kind.draw)(jobs, args.rows)
    return figure


def _from_rows(args: argparse.Namespace, kind: "FigureKind") -> "Figure":
    from dia.config.config import Config
    from dia.reporting.collected_jobs import check_collected
    from dia.reporting.expected_cells import expected_cells
    from dia.reporting.figures.registry import has_masks
    from dia.reporting.figures.rows import NothingToShow
    from dia.reporting.figures.style import placeholder
    from dia.utils.lazy_import import load_object

    _require(args, "config", "results")
    config = Config.from_file(args.config)
    check_collected(config, args.results)
    expected = expected_cells(config)
    if kind.masks:
        expected = expected[
            [has_masks(a, p) for a, p in zip(expected["attack"], expected["dropout_rate"], strict=True)]
        ]
    where, left = {}, expected
    for axis in kind.axes:
        where[axis] = _chosen_value(args, axis, list(dict.fromkeys(left[axis])), args.config)
        left = left[left[axis] == where[axis]]
    try:
        figure: Figure = load_object(kind.draw)(args.results, expected, **where)
    except NothingToShow as nothing:  # of a grid that is still running, not an error
        print(nothing)
        return placeholder("none of this figure's cells is finished yet")
    return figure


def _chosen_value(args: argparse.Namespace, axis: str, values: list[Any], origin: object) -> Any:
    """The value of an axis that the command line asks for, or the first one."""
    from dia.errors import ConfigError

    wanted = getattr(args, axis)
    if wanted is not None and wanted not in values:
        raise ConfigError(f"--{axis} {wanted}: {origin} has {', '.join(map(str, values)) or 'none'}")
    return values[0] if wanted is None and values else wanted


def _require(args: argparse.Namespace, *names: str) -> None:
    """Refuse a command line that lacks an option this figure needs."""
    from dia.errors import ConfigError

    if missing := [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is None]:
        raise ConfigError(f"the figure {args.figure} needs {' and '.join(missing)}")
