"""The collected rows behind a table: its columns, derived measures, and chance levels as if they were attacks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dia.reporting.tables.compare import PAIRED
from dia.reporting.tables.notes import NOTED
from dia.reporting.tables.spec import DERIVED, MEASURES, TableSpec
from dia.results.collected import read_results

if TYPE_CHECKING:
    import pandas as pd

_ALWAYS = ("cell_id", *PAIRED, "victim_id", "batch_size", "victims_sha256", "source_indices", *NOTED)


def read_rows(results: str | Path, spec: TableSpec) -> "pd.DataFrame":
    """Read the rows that a table is about, one per victim, with the columns that it needs.

    Args:
        results: The collected Parquet file; only the columns in use are read.
        spec: The table's declaration.

    Raises:
        RecordError: The file cannot be read.
    """
    names = [*spec.rows, *spec.columns, *spec.where, *_measures(spec), *_ALWAYS]
    columns = [source for name in names for source in DERIVED.get(name, (name,))]
    rows = read_results(results, columns).to_pandas()
    for name, (dividend, divisor) in DERIVED.items():
        if dividend in rows and divisor in rows:
            rows[name] = rows[dividend] / rows[divisor].where(rows[divisor] > 0)
    return select(spec, rows)


def select(spec: TableSpec, frame: "pd.DataFrame") -> "pd.DataFrame":
    """The rows, or the cells, that the table's ``where`` keeps."""
    for axis, values in spec.where.items():
        frame = frame[frame[axis].isin(values)]
    return frame


def with_chance_levels(spec: TableSpec, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Append chance levels as if they were attacks: a row per distinct victim of each group of ``by``."""
    import pandas as pd

    if spec.chance is None:
        return rows
    victims = rows.drop_duplicates([*spec.chance.by, "victims_sha256", "batch_size", "victim_id"])
    frames = [rows]
    for level, label in spec.chance.levels.items():
        frame = victims.assign(attack=label, seed=0, stop_reason="")
        for axis in set(spec.rows + spec.columns) - {*spec.chance.by, "attack"}:
            frame[axis] = ""
        for metric in spec.metrics:
            column = f"{metric.column}_{level}"
            frame[metric.column] = victims[column].astype(float) if column in MEASURES else np.nan
        frames.append(frame.dropna(how="all", subset=[metric.column for metric in spec.metrics]))
    return pd.concat(frames, ignore_index=True).astype({axis: object for axis in spec.rows + spec.columns})


def _measures(spec: TableSpec) -> Sequence[str]:
    """The columns to average, with those of the chance levels where there are any."""
    names = [metric.column for metric in spec.metrics] + ([spec.compare.column] if spec.compare else [])
    levels = spec.chance.levels if spec.chance else ()
    return names + [f"{n}_{level}" for n in names for level in levels if f"{n}_{level}" in MEASURES]
