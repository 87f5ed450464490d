"""Write and read the Parquet file of one cell."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dia.errors import RecordError
from dia.results.arrow_arrays import arrow_array
from dia.results.columns import COLUMNS, FORMAT, HISTORY, IDENTITY, PICTURES, SCORES, schema
from dia.utils.files import atomic_path

if TYPE_CHECKING:
    from dia.jobs.cell import Cell

PICTURE_NAMES: tuple[str, ...] = tuple(column.name for column in PICTURES)
_METADATA_KEY = b"dia"
_ROW_GROUP_BYTES = 32 * 2**20  # so that one victim's pictures can be read without all others'


def write_cell(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a complete cell, one row per victim, atomically.

    Args:
        path: The cell's Parquet file; it exists afterwards only if it is whole.
        rows: Values by column name: every column of ``schema()``, no other; lists may be NumPy arrays.

    Raises:
        RecordError: Columns are missing or unknown, a value does not fit its column, rows belong to several
            cells, a victim is missing or doubled, or lists that go together differ in length.
    """
    table = _table(path, rows)
    cell_id = table["cell_id"][0].as_py()
    head = {"format": FORMAT, "cell_id": cell_id, "rows": table.num_rows, "content": _hash(table)}
    table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(head, sort_keys=True).encode()})
    per_row = max(1, table.nbytes // table.num_rows)
    with atomic_path(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            row_group_size=max(1, _ROW_GROUP_BYTES // per_row),
            write_page_checksum=True,
        )


def read_cell(
    path: str | Path, expected: "Cell | None" = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read a cell's rows and check that they are that cell's, all of them.

    Args:
        path: The cell's Parquet file.
        expected: The cell that the file must hold; any cell where None.
        columns: The columns to read; all where None. ``cell_id`` and ``victims`` are always checked.

    Raises:
        RecordError: The file is missing, truncated, damaged, no cell, of another format or of another cell,
            or holds fewer or more rows than victims.
    """
    path = Path(path)
    with _opened(path) as file:
        head = _head(path, file, expected)
        wanted = None if columns is None else list(dict.fromkeys([*columns, "cell_id", "victims"]))
        table = file.read(columns=wanted, use_threads=False)
    _check_rows(path, table, head)
    return table if columns is None else table.select(list(columns))


def read_pictures(path: str | Path, expected: "Cell | None" = None, victims: int = 4) -> list[dict[str, Any]]:
    """The first victims' images, without reading all others'.

    Returns:
        For each victim ``victim_id``, ``labels``, ``ssim_per_image`` and, as float32 arrays (N, C, H, W) in
        [0, 1], ``original`` and ``reconstruction``.

    Raises:
        RecordError: As for ``read_cell``.
    """
    path, found = Path(path), list[dict[str, Any]]()
    columns = ["victim_id", "labels", "ssim_per_image", "image_shape", "original", "reconstruction"]
    with _opened(path) as file:
        _head(path, file, expected)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=columns, use_threads=False)
            for number in range(min(table.num_rows, victims - len(found))):
                row: dict[str, Any] = {name: table[name][number].as_py() for name in columns[:4]}
                shape = row.pop("image_shape")
                for name in ("original", "reconstruction"):
                    row[name] = table[name][number].values.to_numpy().reshape(shape)
                found.append(row)
            if len(found) == victims:
                break
    return found


def content_hash(path: str | Path, expected: "Cell | None" = None) -> str:
    """The hash of a cell's content, from the file's end alone: equal for equal rows, new for a new run.

    Raises:
        RecordError: As for ``read_cell``, as far as the end of the file can tell.
    """
    with _opened(Path(path)) as file:
        return str(_head(Path(path), file, expected)["content"])


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """An open Parquet file; what fails inside the block for the file's sake is a RecordError."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; the cell has not been computed, or failed") from None
    except (pa.ArrowException, OSError) as error:
        raise RecordError(
            f"{path}: truncated or damaged ({_one_line(error)}); remove it and run the cell again"
        ) from error


def _hash(table: pa.Table) -> str:
    total = hashlib.sha256()
    for column in table.columns:
        for buffer in column.chunk(0).buffers():
            total.update(b"-" if buffer is None else buffer)
    return total.hexdigest()


def _head(path: Path, file: pq.ParquetFile, expected: "Cell | None") -> dict[str, Any]:
    """What the file says of itself, once it is known to be a cell of this format, and the expected one."""
    arrow = file.schema_arrow  # made anew at each access
    try:
        head = json.loads((arrow.metadata or {})[_METADATA_KEY])
    except (KeyError, ValueError):
        raise RecordError(f"{path}: a Parquet file, but not one that dia wrote; remove it") from None
    if head.get("format") != FORMAT or not {"cell_id", "rows", "content"} <= set(head):
        raise RecordError(f"{path}: not a cell of format {FORMAT} (it says {head}); run the cell again")
    if expected is not None and head["cell_id"] != expected.id:
        raise RecordError(f"{path}: holds the cell {head['cell_id']}, expected {expected.id}")
    found, wanted = set(arrow.names), set(schema().names)
    if found != wanted:
        raise RecordError(
            f"{path}: written by another version of dia (missing columns: {_names(wanted - found)}; "
            f"unknown columns: {_names(found - wanted)}); run the cell again"
        )
    kinds = dict(zip(arrow.names, arrow.types, strict=True))
    for field in schema():
        if kinds[field.name] != field.type:
            raise RecordError(f"{path}: column {field.name} is {kinds[field.name]}, expected {field.type}")
    return dict(head)


def _check_rows(path: Path, table: pa.Table, head: Mapping[str, Any]) -> None:
    ids = set(table["cell_id"].to_pylist())
    if ids != {head["cell_id"]}:
        raise RecordError(f"{path}: rows of {sorted(ids)} in the file of {head['cell_id']}")
    victims = set(table["victims"].to_pylist())
    if victims != {table.num_rows} or head["rows"] != table.num_rows:
        raise RecordError(
            f"{path}: {table.num_rows} rows, expected one for each of {_names(victims)} victims"
        )


def _table(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows as a checked table."""
    if not rows:
        raise RecordError(f"{path}: a cell without victims cannot be written")
    names = schema().names
    for number, row in enumerate(rows):
        if set(row) != set(names):
            raise RecordError(
                f"{path}: row {number}: missing columns: {_names(set(names) - set(row))}; "
                f"unknown columns: {_names(set(row) - set(names))}"
            )
    arrays = []
    for field in schema():
        try:
            arrays.append(arrow_array([_plain(row[field.name], field) for row in rows], field))
        except (ValueError, TypeError, OverflowError) as error:
            raise RecordError(f"{path}: column {field.name} ({field.type}): {_one_line(error)}") from error
    for number, row in enumerate(rows):
        _check_row(f"{path}: row {number}", row)
    table = pa.Table.from_arrays(arrays, schema=schema())
    for name in (column.name for column in IDENTITY):
        if len(set(table[name].to_pylist())) != 1:
            raise RecordError(f"{path}: rows differ in {name}: {_names(set(table[name].to_pylist()))}")
    if len(set(table["victim_id"].to_pylist())) != len(rows):
        raise RecordError(f"{path}: a victim_id occurs twice")
    _check_rows(Path(path), table, {"cell_id": rows[0]["cell_id"], "rows": len(rows)})
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
    lengths = {
        name: images
        for name in ("labels", "source_indices", "mse_per_image", "psnr_per_image", "ssim_per_image")
    }
    lengths |= {
        "original": values,
        "reconstruction": values,
        "original_png": images,
        "reconstruction_png": images,
    }
    for name, wanted in lengths.items():
        if len(row[name]) != wanted:
            raise RecordError(f"{where}: {len(row[name])} entries in {name}, expected {wanted}")
    for column in SCORES:
        if column.type == "float64" and not math.isfinite(row[column.name]):
            raise RecordError(f"{where}: {column.name} is {row[column.name]}, expected a finite number")
    points = len(row["history_iteration"])
    for column in HISTORY:
        length = len(row[column.name])
        if length not in {points, 0 if column.name == "history_mask_accuracy" else points}:
            raise RecordError(f"{where}: {length} entries in {column.name}, history_iteration has {points}")


def _plain(value: Any, field: pa.Field) -> Any:
    """A setting that is no plain value as canonical JSON text; everything else as it is."""
    if pa.types.is_string(field.type) and value is not None and not isinstance(value, str):
        if field.name in _FIXED:
            return value  # refused by arrow_array with the column's name
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=list)
    return None if field.nullable and isinstance(value, float | np.floating) and math.isnan(value) else value


_FIXED = frozenset(column.name for column in COLUMNS)


def _names(values: Any) -> str:
    return ", ".join(sorted(map(str, values))) or "none"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
