"""``dia show``: one cell in the terminal, and its pictures as files."""

import argparse
from pathlib import Path
from typing import Any

SCORES = ("ssim", "psnr", "mse", "success", "matching_distance", "mask_accuracy", "iterations", "seconds")
CHANCE = ("ssim_mean_image", "ssim_same_class", "mask_accuracy_chance")


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "show",
        help="print a cell's scores and write its pictures",
        description="Print the scores of one cell, victim by victim, and write its pictures: each private image and "
        "each reconstruction as PNG, and an overview of the first victims.",
    )
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
    from rich.table import Table

    from dia.errors import ConfigError
    from dia.jobs.cell import Cell
    from dia.reporting.tracking.content import picture
    from dia.results.cell_file import read_cell
    from dia.utils.files import atomic_path

    if args.victims < 1:
        raise ConfigError(f"--victims is {args.victims}; at least 1 victim must be shown")
    if args.cell.endswith(".parquet"):
        path = Path(args.cell)
        cell = Cell.parse(read_cell(path, None, ["cell_id"])["cell_id"][0].as_py())
    else:
        cell = Cell.parse(args.cell)
        path = Path("results", args.name, "cells", cell.path)
    columns = [
        "victim_id",
        "labels",
        "stop_reason",
        "notes",
        *SCORES,
        *CHANCE,
        "original_png",
        "reconstruction_png",
    ]
    rows = read_cell(path, cell, columns).to_pylist()

    table = Table(title=cell.id, caption=f"{len(rows)} victims", title_justify="left", caption_justify="left")
    shown = [name for name in SCORES if any(row[name] is not None for row in rows)]
    for name in ("victim", "labels", *shown, "stopped by"):
        table.add_column(
            name.replace("_", " "), justify="left" if name in ("victim", "stopped by") else "right"
        )
    for row in rows[: args.victims]:
        labels = " ".join(map(str, row["labels"]))
        table.add_row(row["victim_id"], labels, *(_number(row[name]) for name in shown), row["stop_reason"])
    table.add_section()
    table.add_row("mean", "", *(_number(_mean(rows, name)) for name in shown), "")
    console = Console()
    console.print(table)
    for name in CHANCE:
        if (mean := _mean(rows, name)) is not None:
            console.print(f"chance level {name.replace('_', ' ')}: {_number(mean)}", highlight=False)
    for note in sorted({row["notes"] for row in rows if row["notes"]}):
        console.print(f"note: {note}", highlight=False)

    folder = args.pictures or Path("results", args.name, "pictures", cell.id)
    files = {"overview.png": picture(cell, path)}
    for row in rows:
        for kind in ("original", "reconstruction"):
            for number, png in enumerate(row[f"{kind}_png"]):
                files[f"victim{row['victim_id']}_image{number}_{kind}.png"] = png
    for name, content in files.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    console.print(f"{len(files)} pictures in {folder}", highlight=False, soft_wrap=True)
    return 0


def _mean(rows: list[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values) / len(values) if values else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
