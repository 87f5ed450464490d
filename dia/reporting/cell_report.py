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

SCORES = {
    "ssim": "SSIM",
    "psnr": "PSNR (dB)",
    "mse": "MSE",
    "success": "success",
    "identified": "identified",
    "matching_distance": "matching distance",
    "gradient_norm": "gradient norm",
    "mask_accuracy": "mask accuracy",
    "iterations": "iterations",
    "seconds": "seconds",
}
"""Column -> its name for a reader."""
CHANCE = {
    "ssim": {"ssim_mean_image": "mean image", "ssim_same_class": "same-class image"},
    "identified": {"identified_chance": "chance"},
    "mask_accuracy": {"mask_accuracy_chance": "chance"},
}
"""Score -> the columns to compare it with, and their names."""
PER_VICTIM = {
    "ssim": "SSIM",
    "psnr": "PSNR",
    "mse": "MSE",
    "mask_accuracy": "masks",
    "iterations": "iterations",
}
"""The scores that are printed of each victim: as many as fit into 80 columns."""
COLUMNS = (
    "victim_id", "labels", "stop_reason", "notes", *SCORES, *(name for levels in CHANCE.values() for name in levels),
    "original_png", "reconstruction_png",
)  # fmt: skip
"""The columns of a cell's rows that this module reads."""

Rows = Sequence[dict[str, Any]]


def mean_table(rows: Rows) -> "Table":
    """The mean of every score that the cell has, beside its chance levels."""
    table = _plain_table("", "mean", "to compare with", justify=("left", "right", "left"))
    for name, title in SCORES.items():
        if (mean := _mean(rows, name)) is None:
            continue
        levels = ((level, _mean(rows, column)) for column, level in CHANCE.get(name, {}).items())
        table.add_row(
            title, _number(mean), ", ".join(f"{level} {_number(v)}" for level, v in levels if v is not None)
        )
    return table


def victim_table(rows: Rows, most: int) -> "Table":
    """A line for each of the first ``most`` victims."""
    shown = [name for name in PER_VICTIM if any(row[name] is not None for row in rows)]
    first = ("victim", "label" if all(len(row["labels"]) == 1 for row in rows) else "labels")
    heads = (*first, *(PER_VICTIM[name] for name in shown), "stopped by")
    table = _plain_table(*heads, justify=("left", *("right",) * (1 + len(shown)), "left"))
    for row in rows[:most]:
        labels = " ".join(map(str, row["labels"] or ["n/a"]))
        table.add_row(row["victim_id"], labels, *(_number(row[name]) for name in shown), row["stop_reason"])
    return table


def _plain_table(*headings: str, justify: Sequence[Any]) -> "Table":
    """A table without lines: the same text in a terminal, a pipe and a file."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, side in zip(headings, justify, strict=True):
        table.add_column(heading, justify=side, overflow="fold")
    return table


def remarks(rows: Rows) -> Iterator[str]:
    """Sentences about victims without a reconstruction, and the attack's notes."""
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
    if value is None:
        return "n/a"
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"  # iterations: 20000, not 2e+04
