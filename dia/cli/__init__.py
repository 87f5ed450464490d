"""The command line: one file per verb, imported only when it is asked for.

The module of a verb has ``add_parser(subparsers)``, which adds the verb with its arguments and sets ``run`` as its
default. ``run(args) -> int`` imports heavy libraries itself, so that ``dia --help`` and light verbs answer at once.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence

from dia import __version__
from dia.errors import DiaError
from dia.utils.extras import install_hint
from dia.utils.lazy_import import load_object
from dia.utils.secrets import hide_passwords

CONSOLE = "DIA_CONSOLE_FD"
"""Environment variable: the open file to print errors to where standard error cannot be written."""

VERBS = {
    "run": "dia.cli.run:add_parser",
    "victims": "dia.cli.victims:add_parser",
    "train": "dia.cli.train:add_parser",
    "attack": "dia.cli.attack:add_parser",
    "invert": "dia.cli.invert:add_parser",
    "cells": "dia.cli.cells:add_parser",
    "collect": "dia.cli.collect:add_parser",
    "utility": "dia.cli.utility:add_parser",
    "tables": "dia.cli.tables:add_parser",
    "figures": "dia.cli.figures:add_parser",
    "compare": "dia.cli.compare:add_parser",
    "document": "dia.cli.document:add_parser",
    "summary": "dia.cli.summary:add_parser",
    "show": "dia.cli.show:add_parser",
    "sync": "dia.cli.sync:add_parser",
    "status": "dia.cli.status:add_parser",
    "verify": "dia.cli.verify:add_parser",
    "schema": "dia.cli.schema:add_parser",
}
"""Verb -> the function that adds it, in the order of ``dia --help``."""


def build_parser(verbs: Iterable[str] = VERBS) -> argparse.ArgumentParser:
    """The parser of ``dia`` with the given verbs."""
    parser = argparse.ArgumentParser(
        prog="dia",
        description="Reconstruct private images from gradients that dropout was meant to protect. "
        "The workflow (snakemake) calls these verbs; you can run each of them yourself.",
    )
    parser.add_argument("--version", action="version", version=f"dia {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in verbs:
        load_object(VERBS[verb])(subparsers)
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
        sys.stdout.flush()
    except DiaError as error:
        _print_error(f"dia {args.verb}: error: {error}")
        return 1
    except BrokenPipeError:  # whoever read the output has had enough: `dia status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        _print_error(f"dia {args.verb}: interrupted")
        return 128 + signal.SIGINT
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (hint := install_hint(error)):
            _print_error(f"dia {args.verb}: error: {hint}")
            return 1
        _print_error(hide_passwords(traceback.format_exc()))
        return 1
    return status


def _print_error(text: str) -> None:
    """Print on standard error; where that is a log on a full disk, on the console that the workflow kept open."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError as error:
        if CONSOLE in os.environ:
            os.write(int(os.environ[CONSOLE]), f"{text}\n(the log could not be written: {error})\n".encode())
