"""One cell for a reader: its scores as a table for the terminal, chance levels and warnings, and its pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dia.attacks.stop_reasons import is_scored
from dia.jobs.cell import Cell
from dia.reporting.tracking.content import picture
from dia.utils.text import shorten

if TYPE_CHECKING:
    from rich.table import Table

SCORES = (
    "ssim",
    "psnr",
    "mse",
    "success",
    "identified",
    "matching_distance",
    "gradient_norm",
    "mask_accuracy",
    "iterations",
    "seconds",
)
CHANCE = ("ssim_mean_image", "ssim_same_class", "identified_chance", "mask_accuracy_chance")
COLUMNS = (
    "victim_id", "labels", "stop_reason", "notes", *SCORES, *CHANCE, "original_png", "reconstruction_png",
)  # fmt: skip
"""The columns of a cell's rows that this module reads."""

Rows = Sequence[dict[str, Any]]


def score_table(cell: Cell, rows: Rows, most: int) -> "Table":
    """The scores that the cell has, a line for each of the first ``most`` victims and their mean over all."""
    from rich.table import Table

    table = Table(title=cell.id, caption=f"{len(rows)} victims", title_justify="left", caption_justify="left")
    shown = [name for name in SCORES if any(row[name] is not None for row in rows)]
    table.add_column("victim")
    for name in ("labels", *shown):
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("stopped by")
    for row in rows[:most]:
        labels = " ".join(map(str, row["labels"]))
        table.add_row(row["victim_id"], labels, *(_number(row[name]) for name in shown), row["stop_reason"])
    table.add_section()
    table.add_row("mean", "", *(_number(_mean(rows, name)) for name in shown), "")
    return table


def remarks(rows: Rows) -> Iterator[str]:
    """The chance levels to compare the scores with, and the attack's notes."""
    for name in CHANCE:
        if (mean := _mean(rows, name)) is not None:
            yield f"chance level {name.replace('_', ' ')}: {_number(mean)}"
    if unscored := [row["victim_id"] for row in rows if not is_scored(row["stop_reason"])]:
        yield f"n/a: no reconstruction of {len(unscored)} of {len(rows)} victims ({shorten(unscored, 10)})"
    for note in sorted({row["notes"] for row in rows if row["notes"]}):
        yield f"note: {note}"


def picture_files(cell: Cell, path: Path, rows: Rows) -> dict[str, bytes]:
    """File name -> PNG: an overview of the first victims, then every private image and every reconstruction."""
    files = {"overview.png": picture(cell, path)}
    for row in rows:
        for kind in ("original", "reconstruction"):
            for number, png in enumerate(row[f"{kind}_png"] or ()):
                files[f"victim{row['victim_id']}_image{number}_{kind}.png"] = png
    return files


def _mean(rows: Rows, name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values) / len(values) if values else None


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"
