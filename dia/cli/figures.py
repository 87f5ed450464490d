"""``dia figures``: pictures from cell files."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "figures",
        help="draw a figure from cell files",
        description="Draw a figure of one scenario, dataset, model and seed, in the formats of the suffixes.",
    )
    parser.add_argument("figure", choices=("reconstructions",), help="original and reconstructions by rate")
    parser.add_argument(
        "--job-list", type=Path, required=True, metavar="FILE", help="JSON lines from `dia cells`"
    )
    parser.add_argument("--scenario", help="default: the first of the job list")
    parser.add_argument("--dataset", help="likewise")
    parser.add_argument("--model", help="likewise")
    parser.add_argument("--seed", type=int, help="likewise")
    parser.add_argument("--rows", type=int, default=4, metavar="N", help="victims to show (default 4)")
    parser.add_argument("--out", type=Path, required=True, nargs="+", metavar="FILE", help=".png, .pdf")


def run(args: argparse.Namespace) -> int:
    """Draw the figure."""
    from dia.errors import ConfigError
    from dia.figures import reconstructions, save
    from dia.records import read_job_list

    if args.rows < 1:
        raise ConfigError(f"--rows is {args.rows}; at least 1 victim must be shown")
    jobs = read_job_list(args.job_list)
    for axis in ("scenario", "dataset", "model", "seed"):
        wanted = getattr(args, axis)
        values = list(dict.fromkeys(getattr(cell, axis) for cell, _ in jobs))
        if wanted is not None and wanted not in values:
            raise ConfigError(
                f"--{axis} {wanted}: {args.job_list} has {', '.join(map(str, values)) or 'none'}"
            )
        chosen = values[0] if wanted is None and values else wanted
        jobs = [job for job in jobs if getattr(job[0], axis) == chosen]
    if not jobs:
        raise ConfigError(f"{args.job_list} lists no cell")
    figure = reconstructions(jobs, args.rows)
    for path in args.out:
        save(figure, path)
    return 0
