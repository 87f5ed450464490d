"""A table of made-up cells: its config, its results, its declaration."""

from pathlib import Path
from typing import Any

from helpers import result_rows

from dia.config.config import Config
from dia.reporting.expected_cells import expected_cells
from dia.reporting.tables.build import build
from dia.reporting.tables.layout import Row, Table
from dia.reporting.tables.spec import TableSpec
from dia.results.collected import collect

DROPOUT = Path(__file__).parents[2] / "config" / "tables" / "dropout.yaml"

SSIM = {
    ("0", "ig"): [0.9, 0.7],
    ("0", "dia"): [0.9, 0.7],
    ("0.5", "ig"): [0.1, 0.3],
    ("0.5", "dia"): [0.5, 0.9],
}
"""Two victims a cell, seed 0; seed 1 is 0.1 lower."""


def config(**grid: Any) -> Config:
    default: dict[str, Any] = {"datasets": ["mnist"], "models": ["mlp"], "seeds": [0, 1]}
    default |= {"dropout_rates": ["0", "0.5"], "attacks": ["ig", "dia"]}
    return Config.load(
        {
            "name": "made-up",
            "datasets": {"mnist": {"source": "bundled-mnist", "images": 16}},
            "scenarios": {"default": {"victims": 2}},
            "grids": [default | grid],
        }
    )


def results(folder: Path, of: Config, leave_out: tuple[str, ...] = (), **changes: Any) -> Path:
    """Write and collect made-up cells."""
    pairs = []
    for cell in of.cells:
        if cell.id not in leave_out:
            scores = [s - 0.1 * cell.seed for s in SSIM[cell.dropout_rate, cell.attack]]
            pairs.append(result_rows.made(folder, cell, scores, **changes))
    collect(pairs, folder / "results.parquet")
    return folder / "results.parquet"


def spec(**changes: Any) -> TableSpec:
    declared = {
        "title": "Made up",
        "rows": ["dropout_rate", "attack"],
        "metrics": [{"column": "ssim", "label": "SSIM", "better": "higher"}],
    }
    return TableSpec.model_validate(declared | changes)


def table(folder: Path, declared: TableSpec, leave_out: tuple[str, ...] = (), **changes: Any) -> Table:
    of = config()
    return build("made_up", declared, expected_cells(of), results(folder, of, leave_out, **changes))


def row(of: Table, *key: str) -> Row:
    return next(line for line in of.rows if line.key == key)
