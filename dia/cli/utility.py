"""``dia utility``: the accuracy of all trained models of a config in one file."""

import argparse
from pathlib import Path

HELP = "collect the test accuracy of trained models in one Parquet file"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("utility", help=HELP, description=HELP)
    parser.set_defaults(run=run)
    parser.add_argument("files", type=Path, nargs="+", metavar="PARQUET", help="what `dia train` wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="PARQUET", help="where the rows go")


def run(args: argparse.Namespace) -> int:
    """Collect exactly the files named."""
    from dia.results.utility import collect_utility

    count = collect_utility(args.files, args.out)
    print(f"{count} trained models in {args.out}")
    return 0
