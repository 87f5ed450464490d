"""The command line: one verb a file, imported only when it is asked for.

Each verb's module has ``add_parser(subparsers)`` and ``run(args) -> int``; it
imports heavy libraries inside ``run``, so that ``dia --help`` and light verbs answer at once.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from dia import __version__
from dia.errors import DiaError

VERBS = (
    "victims", "train", "attack", "cells", "collect", "utility", "tables", "figures", "summary", "show", "sync",
    "status", "verify", "schema",
)  # fmt: skip


def build_parser(verbs: Sequence[str] = VERBS) -> argparse.ArgumentParser:
    """The parser of ``dia`` with the given verbs."""
    parser = argparse.ArgumentParser(
        prog="dia",
        description="Reconstruct private images from gradients that dropout was meant to protect. "
        "The workflow (snakemake) calls these verbs; each also works by hand.",
    )
    parser.add_argument("--version", action="version", version=f"dia {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in verbs:
        module = importlib.import_module(f"dia.cli.{verb}")
        module.add_parser(subparsers)
        subparsers.choices[verb].set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit status: 0, or 1 where the verb refused with an error that the user can act on (printed as one
        message), 2 for a wrong command line.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    asked = [verb for verb in VERBS if arguments[:1] == [verb]]
    args = build_parser(asked or VERBS).parse_args(arguments)
    try:
        status: int = args.run(args)
    except DiaError as error:
        print(f"dia {args.verb}: error: {error}", file=sys.stderr)
        return 1
    return status
