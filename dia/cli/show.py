"""``dia show``: one cell in the terminal, and its pictures as files."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dia.jobs.cell import Cell


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "show",
        help="print a cell's scores and write its pictures",
        description="Print the scores of one cell, victim by victim, and write its pictures: each private image and "
        "each reconstruction as PNG, and an overview of the first victims.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "cell",
        metavar="CELL",
        help="the cell's id, such as default/mnist/mlp/p0.5/dia/seed0, or its result file",
    )
    parser.add_argument(
        "--name",
        default="quickstart",
        help="the config's name, whose results hold the cell (default: quickstart)",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="where the pictures go (default: results/NAME/pictures/CELL)",
    )
    parser.add_argument(
        "--victims", type=int, default=20, metavar="N", help="most victims to print (default 20)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table, write the pictures."""
    from rich.console import Console

    from dia.errors import ConfigError
    from dia.reporting.cell_report import COLUMNS, mean_table, picture_files, remarks, victim_table
    from dia.results.cell_file import read_cell

    if args.victims < 1:
        raise ConfigError(f"--victims is {args.victims}; at least 1 victim must be shown")
    cell, path = _locate(args.cell, args.name)
    rows = read_cell(path, cell, COLUMNS).to_pylist()
    console = Console(highlight=False)
    console.print(f"{cell.id}: {len(rows)} victims\n", soft_wrap=True)
    console.print(mean_table(rows))
    console.print()
    console.print(victim_table(rows, args.victims))
    if len(rows) > args.victims:
        console.print(f"... and {len(rows) - args.victims} more: --victims {len(rows)}")
    console.print()
    for remark in remarks(rows):
        console.print(remark, soft_wrap=True)
    folder = args.pictures or Path("results", args.name, "pictures", cell.id)
    files = picture_files(cell, path, rows)
    _write(folder, files)
    console.print(f"{len(files)} pictures in {folder}", soft_wrap=True)
    return 0


def _locate(cell: str, name: str) -> "tuple[Cell, Path]":
    """The cell that is asked for by its id or by its result file, and that file."""
    from dia.jobs.cell import Cell
    from dia.results.cell_head import open_cell

    if cell.endswith(".parquet"):
        with open_cell(cell, head_only=True) as (_, head):
            return Cell.parse(head.cell_id), Path(cell)
    found = Cell.parse(cell)
    return found, Path("results", name, "cells", found.path)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write the pictures, each by its name."""
    from dia.utils.files import atomic_path

    for name, content in files.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
