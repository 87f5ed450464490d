"""``dia collect``: the rows of all cells in one file, without pictures."""

import argparse
import logging
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "collect",
        help="gather the rows of all cells in one file",
        description="Copy the rows of all cells of a job list to one Parquet file, without pictures.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--job-list", type=Path, required=True, metavar="FILE", help="JSON lines from `dia cells`"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the collected Parquet file")
    parser.add_argument(
        "--compact",
        action="store_true",
        help="without curves and scores of single images: a file to publish, enough for all tables",
    )


def run(args: argparse.Namespace) -> int:
    """Collect."""
    from dia.errors import RecordError
    from dia.results.collected import collect
    from dia.results.job_list import read_job_list, split_by_existence
    from dia.utils.text import shorten

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    jobs = read_job_list(args.job_list)
    _, missing = split_by_existence(jobs)
    if missing:
        names = shorten([job.cell.id for job, _ in missing], 10)
        raise RecordError(
            f"{len(missing)} of {len(jobs)} cells have no result file: {names}; "
            "run them, or list what can be collected with `dia cells --finished`"
        )
    summary = collect(jobs, args.out, compact=args.compact)
    print(f"collected {summary.rows} rows of {summary.cells} cells in {args.out}")
    return 0
