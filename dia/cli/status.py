"""``dia status``: which cells are done, which are not and why, and how long the rest will take."""

import argparse
from pathlib import Path
from typing import Any

from dia.utils.text import in_words

HELP = "tell which cells are done, which are not and why, and how long the rest will take"
SHORTEST_WATCH = 1.0  # seconds


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("status", help=HELP, description=HELP)
    parser.set_defaults(run=run)
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("config/config.yaml"),
        metavar="FILE",
        help="default: the quick start",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="cells that run at a time (default 1; with --watch at least those that run), for the estimate",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--failed", action="store_true", help="list only cells that failed or were interrupted"
    )
    shown.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=10.0,
        metavar="SECONDS",
        help="look again every so many seconds (default 10) until all cells are done: a live view on a terminal, one "
        "line each time elsewhere; the exit status is 1 where cells failed and nothing else is left",
    )


def run(args: argparse.Namespace) -> int:
    """Print the status."""
    from dia.config.config import Config
    from dia.errors import ConfigError
    from dia.reporting.status import STATES, grid_status, seconds_left, with_reasons

    if args.jobs < 1:
        raise ConfigError(f"--jobs is {args.jobs}; it must be at least 1")
    if args.watch is not None and not SHORTEST_WATCH <= args.watch < float("inf"):
        raise ConfigError(f"--watch is {args.watch:g}; it must be at least {SHORTEST_WATCH:g} seconds")
    config = Config.from_file(args.config)
    if args.watch is not None:
        from rich.console import Console

        from dia.reporting.watch_view import watch

        return watch(config, args.watch, args.jobs, Console(highlight=False))
    cells = grid_status(config)
    counts = {state: sum(cell.state == state for cell in cells) for state in STATES}
    others = ", ".join(f"{count} {state}" for state, count in counts.items() if count and state != "done")
    print(
        f"{config.name}: {counts['done']} of {len(cells)} cells are done" + (f"; {others}" if others else "")
    )
    shown = ("failed", "interrupted") if args.failed else STATES[1:]
    for state in shown:
        for line in with_reasons([cell for cell in cells if cell.state == state]):
            print(f"{state:12}{line}")
    if counts["done"] < len(cells):
        seconds, unknown = seconds_left(cells)
        print(estimate(seconds, unknown, args.jobs))
    return 0


def estimate(seconds: float, unknown: int, jobs: int) -> str:
    """The time that the rest takes, in a sentence, from what :func:`dia.reporting.status.seconds_left` returns."""
    if not seconds:
        return "How long the rest takes is not known: no cell like it is done."
    text = f"The rest takes about {in_words(seconds)} of attack time, judging by the cells that are done"
    if jobs > 1:
        text += f"; {in_words(seconds / jobs)} with {jobs} cells at a time"
    return text + (f"; {unknown} cells are not counted, none like them is done." if unknown else ".")
