"""Write and read the Parquet file of one cell."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dia.attacks.stop_reasons import is_scored
from dia.errors import RecordError
from dia.results.arrow_arrays import arrow_array
from dia.results.cell_head import (
    CONTENT,
    as_text,
    hash_of_content,
    head_metadata,
    names,
    one_line,
    open_cell,
)
from dia.results.columns import (
    AGAINST_TRUTH,
    COLUMNS,
    HISTORY,
    IDENTITY,
    OF_RECONSTRUCTION,
    PICTURES,
    SCORES,
    schema,
)
from dia.utils.files import atomic_path

if TYPE_CHECKING:
    from dia.jobs.attack_job import AttackJob
    from dia.jobs.cell import Cell

PICTURE_NAMES: tuple[str, ...] = tuple(column.name for column in PICTURES)
_ROW_GROUP_BYTES = 32 * 2**20  # so that one victim's pictures can be read without all others'


def write_cell(path: str | Path, rows: Sequence[Mapping[str, Any]], job: "AttackJob") -> None:
    """Write a complete cell, one row per victim, atomically.

    Args:
        path: The cell's Parquet file; it exists afterwards only if it is whole.
        rows: Values by column name: every column of ``schema()``, no other; lists may be NumPy arrays.
        job: The job that the rows were made for.

    Raises:
        RecordError: Columns are missing or unknown, a value does not fit its column, rows belong to several
            cells or not to the job, a victim is missing or doubled, or lists that go together differ in length.
    """
    table = _table(path, rows)
    for row in rows:
        _check_job(path, row, job)
    table = table.replace_schema_metadata(head_metadata(job, table.num_rows))
    per_row = max(1, table.nbytes // table.num_rows)
    with (
        atomic_path(path) as temporary,
        temporary.open("w+b") as file,
        pq.ParquetWriter(file, table.schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        writer.write_table(table, row_group_size=max(1, _ROW_GROUP_BYTES // per_row))
        # All rows are written by now; what follows is the footer alone.
        content = hash_of_content(file, file.tell())
        writer.add_key_value_metadata({CONTENT: content.encode()})


def read_cell(
    path: str | Path, expected: "AttackJob | Cell | None" = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read a cell's rows, once the cell is known to be done (see :mod:`dia.results.cell_head`).

    Args:
        path: The cell's Parquet file.
        expected: The job that the cell must have been made for, or only the cell; any where None.
        columns: The columns to read; all where None. ``cell_id`` and ``victims`` are always checked. In a cell of an
            older version a setting that came later has its default, any other later column null.

    Raises:
        RecordError: The file is missing, truncated, damaged, edited, no cell, of another format, of another cell, made
            for another job, or holds fewer or more rows than victims.
    """
    path = Path(path)
    with open_cell(path, expected) as (file, head):
        wanted = list(
            dict.fromkeys([*(schema().names if columns is None else columns), "cell_id", "victims"])
        )
        here = set(file.schema_arrow.names)
        table = file.read(columns=[name for name in wanted if name in here], use_threads=False)
    for name in wanted:
        if name not in here:
            table = table.append_column(*_later_column(name, table.num_rows))
    _check_rows(path, table, head.cell_id, head.rows)
    return table.select(schema().names if columns is None else list(columns))


def _later_column(name: str, rows: int) -> tuple[pa.Field, pa.Array]:
    """A column that an older version did not write."""
    from dia.settings.scenario import Settings

    field = schema().field(name).with_nullable(True)
    value = Settings().model_dump(mode="json").get(name)
    if value is not None and pa.types.is_string(field.type):
        value = as_text(value)
    return field, pa.array([value] * rows, field.type)


def read_pictures(
    path: str | Path, expected: "AttackJob | Cell | None" = None, victims: int = 4
) -> list[dict[str, Any]]:
    """Read the first victims' images without decoding all others'.

    Returns:
        For each victim ``victim_id``, ``labels``, ``ssim_per_image`` and, as float32 arrays (N, C, H, W) in
        [0, 1], ``original`` and ``reconstruction``; each is None where it has none, and ``image_shape``.

    Raises:
        RecordError: As for ``read_cell``.
    """
    found = list[dict[str, Any]]()
    columns = ["victim_id", "labels", "ssim_per_image", "image_shape", "original", "reconstruction"]
    with open_cell(path, expected) as (file, _):
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=columns, use_threads=False)
            for number in range(min(table.num_rows, victims - len(found))):
                row: dict[str, Any] = {name: table[name][number].as_py() for name in columns[:4]}
                shape = row["image_shape"]
                for name in ("original", "reconstruction"):
                    flat = table[name][number].values
                    row[name] = None if flat is None else flat.to_numpy().reshape(shape)
                found.append(row)
            if len(found) == victims:
                break
    return found


def _check_rows(path: Path, table: pa.Table, cell_id: str, rows: int) -> None:
    ids = set(table["cell_id"].to_pylist())
    if ids != {cell_id}:
        raise RecordError(f"{path}: rows of {sorted(ids)} in the file of {cell_id}")
    victims = set(table["victims"].to_pylist())
    if victims != {table.num_rows} or rows != table.num_rows:
        raise RecordError(f"{path}: {table.num_rows} rows, expected one for each of {names(victims)} victims")


def _check_job(path: str | Path, row: Mapping[str, Any], job: "AttackJob") -> None:
    """Refuse a row that says other settings than the job, or is another cell's."""
    said = {"cell_id": job.cell.id, "model_definition": job.model_definition} | job.settings.model_dump(
        mode="json"
    )
    for name, value in said.items():
        if as_text(row[name]) != as_text(value):
            raise RecordError(f"{path}: the rows say {name} {row[name]}, their job {value}")


def _table(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows as a checked table."""
    if not rows:
        raise RecordError(f"{path}: a cell without victims cannot be written")
    columns = schema().names
    for number, row in enumerate(rows):
        if set(row) != set(columns):
            raise RecordError(
                f"{path}: row {number}: missing columns: {names(set(columns) - set(row))}; "
                f"unknown columns: {names(set(row) - set(columns))}"
            )
    arrays = []
    for field in schema():
        try:
            arrays.append(arrow_array([_plain(row[field.name], field) for row in rows], field))
        except (ValueError, TypeError, OverflowError) as error:
            raise RecordError(f"{path}: column {field.name} ({field.type}): {one_line(error)}") from error
    for number, row in enumerate(rows):
        _check_row(f"{path}: row {number}", row)
    table = pa.Table.from_arrays(arrays, schema=schema())
    for name in (column.name for column in IDENTITY):
        if len(set(table[name].to_pylist())) != 1:
            raise RecordError(f"{path}: rows differ in {name}: {names(set(table[name].to_pylist()))}")
    if len(set(table["victim_id"].to_pylist())) != len(rows):
        raise RecordError(f"{path}: a victim_id occurs twice")
    _check_rows(Path(path), table, rows[0]["cell_id"], len(rows))
    return table


def _check_row(where: str, row: Mapping[str, Any]) -> None:
    """Checks of one row that a column's type cannot make."""
    from dia.jobs.cell import Cell

    axes = {column.name: row[column.name] for column in IDENTITY[1:]}
    try:
        matches = Cell(**axes).id == row["cell_id"]
    except ValueError:  # an axis that no cell has
        matches = False
    if not matches:
        raise RecordError(f"{where}: cell_id {row['cell_id']} does not match its axes {axes}")
    images, values = int(row["image_shape"][0]), math.prod(int(n) for n in row["image_shape"])
    scored, true = is_scored(row["stop_reason"]), row["original"] is not None
    wanted_here = dict.fromkeys(
        (*(c.name for c in OF_RECONSTRUCTION), "reconstruction", "reconstruction_png"), scored
    )
    wanted_here |= dict.fromkeys((column.name for column in AGAINST_TRUTH), scored and true)
    wanted_here |= {"original_png": true, "update_sha256": row["update_file"] is not None}
    for name, wanted in wanted_here.items():
        if (row[name] is not None) != wanted:
            raise RecordError(
                f"{where}: {name} is {'absent' if wanted else 'there'}, and the attack ended with "
                f"{row['stop_reason']}{'' if true else ', without private images'}"
            )
    if row["labels"] is None and row["update_file"] is None:
        raise RecordError(f"{where}: labels is absent, and no update was received")
    of_images = ("mse_per_image", "psnr_per_image", "ssim_per_image", "reconstruction_png", "original_png")
    lengths = dict.fromkeys(("labels", "source_indices", *of_images), images)
    lengths |= dict.fromkeys(("original", "reconstruction"), values)
    for name, length in lengths.items():
        if row[name] is not None and len(row[name]) != length:
            raise RecordError(f"{where}: {len(row[name])} entries in {name}, expected {length}")
    for column in SCORES:
        value = row[column.name]
        if column.type == "float64" and value is not None and not math.isfinite(value):
            raise RecordError(f"{where}: {column.name} is {value}, expected a finite number")
    points = len(row["history_iteration"])
    may_be_empty = ("history_mask_accuracy", *(() if true else ("history_mse",)))
    for column in HISTORY:
        length = len(row[column.name])
        if length not in {points, 0 if column.name in may_be_empty else points}:
            raise RecordError(f"{where}: {length} entries in {column.name}, history_iteration has {points}")


def _plain(value: Any, field: pa.Field) -> Any:
    """A setting that is no plain value as canonical JSON text; everything else as it is."""
    if pa.types.is_string(field.type) and value is not None and not isinstance(value, str):
        if field.name in _FIXED:
            return value  # refused by arrow_array with the column's name
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=list)
    return None if field.nullable and isinstance(value, float | np.floating) and math.isnan(value) else value


_FIXED = frozenset(column.name for column in COLUMNS)
