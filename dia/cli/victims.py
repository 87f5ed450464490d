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
    from dia.datasets.balanced_sampling import imbalance
    from dia.datasets.registry import parse_dataset
    from dia.datasets.victim_selection import make_victims

    victims = make_victims(parse_dataset(args.dataset_json, args.name), args.name)
    victims.save(args.out)

    channels, height, width = victims.shape
    present = victims.class_counts[victims.class_counts > 0]
    print(
        f"{args.name}: {len(victims)} images of {height}x{width}x{channels} "
        f"from {victims.source} ({victims.source_detail})"
    )
    print(
        f"{args.name}: {len(present)} of {victims.num_classes} classes, "
        f"{present.min()} to {present.max()} images each; sha256 {victims.sha256}"
    )
    if shortfall := imbalance(victims.class_counts):
        print(f"{args.name}: {shortfall}")
    return 0
