"""``dia summary``: a page that says what was run."""

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "summary",
        help="write a page that says what was run",
        description="Write an HTML page: cells that are there and missing, settings, versions, machines.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the config, YAML or JSON")
    parser.add_argument("--results", type=Path, required=True, metavar="FILE", help="from `dia collect`")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html", help="the page to write")


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from dia.config.config import Config
    from dia.reporting.collected_jobs import check_collected
    from dia.reporting.summary import summary
    from dia.utils.files import atomic_path

    config = Config.from_file(args.config)
    check_collected(config, args.results)
    text = summary(config, args.results)
    with atomic_path(args.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return 0
