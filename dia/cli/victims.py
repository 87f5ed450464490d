"""``dia victims``: make a dataset's victim set."""

import argparse
from pathlib import Path
from typing import Any

HELP = "make the victim set of a dataset"


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser("victims", help=HELP, description=__doc__)
    parser.set_defaults(run=run)
    parser.add_argument(
        "--dataset-json",
        required=True,
        metavar="JSON",
        help='the dataset as in the config, such as \'{"source": "bundled-mnist", "images": 16}\'',
    )
    parser.add_argument("--name", required=True, help="the dataset's name in the config")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.npz", help="the victim set to write")


def run(args: argparse.Namespace) -> int:
    """Make the set, write it whole or not at all, and say what is in it."""
    from dia.datasets.registry import SOURCES, parse_dataset
    from dia.utils.lazy_import import load_object

    spec = parse_dataset(args.dataset_json, args.name)
    victims = load_object(SOURCES[spec.source].victims).make(spec, args.name)
    victims.save(args.out)
    for line in victims.describe():
        print(f"{args.name}: {line}")
    return 0
