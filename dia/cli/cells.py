"""``dia cells``: the job list of a config, which collectors read instead of ten thousand arguments."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dia.errors import ConfigError

if TYPE_CHECKING:
    from dia.config.config import Config
    from dia.jobs.cell import Cell


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "cells",
        help="list the cells of a config",
        description="Write one JSON line per cell: its job (axes, settings, dataset) and the path of its result file.",
    )
    parser.set_defaults(run=run)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, metavar="FILE", help="the config file")
    source.add_argument("--config-json", metavar="JSON", help="the config as JSON text")
    parser.add_argument(
        "--finished",
        action="store_true",
        help="only cells whose result file is there, whole and made with the config's settings; "
        "what is left out is said with its reason",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the list goes (default: printed)")
    parser.add_argument("--config-out", type=Path, metavar="FILE", help="also write the config here, as JSON")


def run(args: argparse.Namespace) -> int:
    """Write the list."""
    from dia.config.config import Config
    from dia.config.jobs import attack_job
    from dia.results.job_list import job_list_text
    from dia.utils.files import atomic_path

    if args.config is not None:
        config = Config.from_file(args.config)
    else:
        try:
            config = Config.load(json.loads(args.config_json), "--config-json")
        except json.JSONDecodeError as error:
            raise ConfigError(f"--config-json is not JSON: {error}") from None
    cells = _finished(config) if args.finished else config.cells
    text = job_list_text((attack_job(config, cell), config.cell_path(cell)) for cell in cells)
    if args.out is None:
        sys.stdout.write(text)
    else:
        with atomic_path(args.out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if args.config_out is not None:
        with atomic_path(args.config_out) as temporary:
            temporary.write_text(config.identity() + "\n", encoding="utf-8")
    return 0


def _finished(config: "Config") -> "list[Cell]":
    """The cells that can be collected now; names the others on standard error."""
    from dia.reporting.status import grid_status, with_reasons

    cells = grid_status(config)
    for line in with_reasons([cell for cell in cells if cell.state != "done"]):
        print(f"left out {line}", file=sys.stderr)
    finished = [cell.cell for cell in cells if cell.state == "done"]
    print(f"{len(finished)} of {len(cells)} cells are finished", file=sys.stderr)
    return finished
