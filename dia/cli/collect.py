"""``dia collect``: the rows of all cells in one file, without pictures."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "collect",
        help="gather the rows of all cells in one file",
        description="Copy the rows of all cells of a job list to one Parquet file, without pictures.",
    )
    parser.add_argument(
        "--job-list", type=Path, required=True, metavar="FILE", help="JSON lines from `dia cells`"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the collected Parquet file")
    parser.add_argument(
        "--partial", action="store_true", help="leave out cells without a result file instead of failing"
    )


def run(args: argparse.Namespace) -> int:
    """Collect."""
    from dia.errors import RecordError
    from dia.records import collect, existing, read_job_list

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    jobs = read_job_list(args.job_list)
    here, missing = existing(jobs)
    names = ", ".join(cell.id for cell, _ in missing[:10])
    names += f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    if missing and not args.partial:
        raise RecordError(
            f"{len(missing)} of {len(jobs)} cells have no result file: {names}; "
            "run them, or collect what exists with --partial"
        )
    summary = collect(here, args.out)
    print(f"collected {summary.rows} rows of {summary.cells} of {len(jobs)} cells in {args.out}")
    if missing:
        print(f"missing: {names}", file=sys.stderr)
    return 0
