"""``dia attack``: run one cell and write its rows."""

import argparse
from pathlib import Path

HELP = "run one cell of the grid: attack all its victims and write one Parquet file"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("attack", help=HELP, description=HELP)
    parser.add_argument("--job", required=True, metavar="JSON", help="the cell, its settings and dataset")
    parser.add_argument("--victims", type=Path, required=True, metavar="NPZ", help="the dataset's victim set")
    parser.add_argument("--out", type=Path, required=True, metavar="PARQUET", help="where the rows go")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads to use (default 1)")
    parser.add_argument(
        "--victims-per-pass",
        default="auto",
        metavar="N",
        help="victims that share a pass; auto (default) chooses by free memory",
    )


def run(args: argparse.Namespace) -> int:
    """Attack, score, write."""
    from dia.errors import ConfigError
    from dia.job import Job

    job = Job.parse(args.job)
    if args.victims_per_pass != "auto" and not (args.victims_per_pass.isdecimal() and int(args.victims_per_pass)):
        raise ConfigError(f"--victims-per-pass is '{args.victims_per_pass}'; it must be auto or a number above 0")
    per_pass = None if args.victims_per_pass == "auto" else int(args.victims_per_pass)

    from dia.cellrun import run_cell
    from dia.progress import LOG, start_logging
    from dia.records import write_cell
    from dia.victims.store import VictimSet

    start_logging()
    rows = run_cell(
        job,
        VictimSet.load(args.victims),
        device=args.device,
        threads=args.threads,
        victims_per_pass=per_pass,
    )
    write_cell(args.out, rows)
    LOG.info("wrote %s", args.out)
    return 0
