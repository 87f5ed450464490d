"""The utility of trained models: one row per model, and all of a config's in one Parquet file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dia.errors import RecordError
from dia.jobs.training_job import SETTINGS, TrainingJob
from dia.results.columns import PROVENANCE, TYPES, settings_columns
from dia.utils.files import atomic_path

AXES = (("dataset", "str"), ("model", "str"), ("dropout_rate", "str"), ("seed", "int64"))
MEASURED = (
    ("test_accuracy", "float64"),  # share of test images classified rightly, dropout off
    ("test_accuracy_chance", "float64"),  # always the most frequent class
    ("test_loss", "float64"),
    ("train_loss", "float64"),  # of the last round's clients, dropout off
    ("train_images", "int64"),
    ("tested_images", "int64"),
)
NOT_OF_A_MODEL = (
    "victims_per_chunk",
    "victims_per_chunk_setting",
    "compiled",
    "compile_setting",
    "compile_fallback",
    "cuda_graph",
    "cuda_graph_fallback",
)


def schema() -> pa.Schema:
    """Axes, the settings that training depends on, what was measured, and provenance."""
    fields = [pa.field(name, TYPES[kind], nullable=False) for name, kind in (*AXES, *MEASURED)]
    fields.insert(len(AXES), pa.field("trained_model", pa.string(), nullable=False))
    settings = [column.field for column in settings_columns() if column.name in SETTINGS]
    provenance = [column.field for column in PROVENANCE if column.name not in NOT_OF_A_MODEL]
    return pa.schema(fields + settings + provenance)


def write_utility(
    path: str | Path, job: TrainingJob, utility: dict[str, float], provenance: dict[str, Any]
) -> None:
    """Write the row of one model, whole or not at all."""
    row: dict[str, Any] = {
        "dataset": job.dataset_name,
        "model": job.model_name,
        "dropout_rate": job.dropout_rate,
    }
    row |= {"seed": job.seed, "trained_model": job.name, **utility, **provenance}
    row |= job.settings.model_dump(mode="json", include=set(SETTINGS))
    table = pa.Table.from_pylist([{name: row[name] for name in schema().names}], schema=schema())
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def collect_utility(paths: Sequence[str | Path], out: str | Path) -> int:
    """Put the rows of the given files, in their order, into one; returns their number.

    Raises:
        RecordError: A file is missing, damaged, or not the row of a model as this version writes it.
    """
    tables = []
    for path in paths:
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise RecordError(f"{path}: not a readable utility file ({error})") from error
        if table.schema.names != schema().names or table.num_rows != 1:
            raise RecordError(
                f"{path}: not the utility of one model as this version writes it; delete it and run again"
            )
        tables.append(table.cast(schema()))
    whole = pa.concat_tables(tables) if tables else schema().empty_table()
    with atomic_path(out) as temporary:
        pq.write_table(whole, temporary)
    return whole.num_rows
