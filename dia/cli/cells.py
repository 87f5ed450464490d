"""``dia cells``: the job list of a config, which collectors read instead of ten thousand arguments."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dia.errors import ConfigError, RecordError

if TYPE_CHECKING:
    from dia.cell import Cell
    from dia.config import Config


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "cells",
        help="list the cells of a config",
        description="Write one JSON line per cell: its axes and the path of its result file.",
    )
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
    from dia.config import Config
    from dia.files import atomic_path

    if args.config is not None:
        config = Config.from_file(args.config)
    else:
        try:
            config = Config.load(json.loads(args.config_json), "--config-json")
        except json.JSONDecodeError as error:
            raise ConfigError(f"--config-json is not JSON: {error}") from None
    cells = _finished(config) if args.finished else config.cells
    lines = [json.dumps({"cell": cell.axes(), "path": str(config.cell_path(cell))}) for cell in cells]
    text = "".join(f"{line}\n" for line in lines)
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
    from dia.records import read_cell

    finished = []
    for cell in config.cells:
        path, settings = config.cell_path(cell), config.settings(cell).model_dump(mode="json")
        if not path.exists():
            print(f"left out {cell.id}: not finished", file=sys.stderr)
            continue
        try:
            row = read_cell(path, cell, list(settings)).slice(0, 1).to_pylist()[0]
        except RecordError as error:
            print(f"left out {cell.id}: {error}", file=sys.stderr)
            continue
        if others := {key: row[key] for key in settings if row[key] != _stored(settings[key], row[key])}:
            print(f"left out {cell.id}: made with other settings: {others}", file=sys.stderr)
            continue
        finished.append(cell)
    print(f"{len(finished)} of {len(config.cells)} cells are finished", file=sys.stderr)
    return finished


def _stored(value: Any, like: Any) -> Any:
    """A setting as the row has it: what is no plain value is there as canonical JSON text."""
    from dia.job import canonical

    return canonical(value) if isinstance(like, str) and not isinstance(value, str) else value
