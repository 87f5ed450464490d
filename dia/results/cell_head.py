"""The one check of whether a cell is done: its file is whole, unchanged since it was written, and made for its job.

All that reads cells opens them here. The head of a file lies in its footer, so that a cell made for another job, or cut
off, is told without reading its rows. The rows are guarded by the hash of all bytes before the footer.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dia.errors import RecordError
from dia.results.columns import COLUMNS, FORMAT, PROVENANCE, schema

if TYPE_CHECKING:
    from dia.jobs.attack_job import AttackJob
    from dia.jobs.cell import Cell

HEAD, CONTENT = b"dia", b"dia_content"
"""Keys of a file's metadata: the head as JSON; the SHA-256 of all bytes before the footer."""

_FOOTER_END = 8  # the footer's length in four bytes, and four of magic
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class CellHead:
    """The statement of a cell's file about itself.

    Attributes:
        job: The job that the cell was made for, as plain values.
        cell_id: The cell.
        rows: Number of its victims.
        content: SHA-256 of the file up to its footer: equal for equal rows, new for a new run.
    """

    job: dict[str, Any]
    cell_id: str
    rows: int
    content: str


def head_metadata(job: "AttackJob", rows: int) -> dict[bytes, bytes]:
    """The head as metadata of a schema."""
    head = {"format": FORMAT, "job": json.loads(job.canonical_json()), "cell_id": job.cell.id, "rows": rows}
    return {HEAD: json.dumps(head, sort_keys=True).encode()}


def hash_of_content(file: IO[bytes], length: int) -> str:
    """The SHA-256 of the first ``length`` bytes of a file."""
    total = hashlib.sha256()
    file.seek(0)
    while length > 0 and (block := file.read(min(_BLOCK, length))):
        total.update(block)
        length -= len(block)
    return total.hexdigest()


@contextmanager
def open_cell(
    path: str | Path, expected: "AttackJob | Cell | None" = None, *, head_only: bool = False
) -> Iterator[tuple[pq.ParquetFile, CellHead]]:
    """Open a cell's file once it is known to be done; what fails inside the block for the file's sake is a RecordError.

    Args:
        path: The cell's Parquet file.
        expected: The job that the cell must have been made for: settings, dataset and model definition; or only the
            cell that it must be; any where None.
        head_only: Do not read the content to compare it with its hash.

    Raises:
        RecordError: The file is missing, truncated, damaged, changed since it was written, no cell, of another format,
            of another cell, or made for another job.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw, pq.ParquetFile(raw, page_checksum_verification=True) as file:
            head = _read_head(path, file, expected)
            if not head_only and hash_of_content(raw, _content_length(raw)) != head.content:
                raise RecordError(
                    f"{path}: truncated or damaged, or edited: its content is not what was written; "
                    "remove it and run the cell again"
                )
            yield file, head
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; the cell has not been computed, or failed") from None
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        raise RecordError(
            f"{path}: truncated or damaged ({one_line(error)}); remove it and run the cell again"
        ) from error


def check_cell(path: str | Path, job: "AttackJob", *, head_only: bool = False) -> CellHead:
    """The head of a cell that is done; see :func:`open_cell`.

    Raises:
        RecordError: The cell is not done; the message says why.
    """
    with open_cell(path, job, head_only=head_only) as (_, head):
        return head


def check_heads(jobs: "Sequence[tuple[AttackJob, Path]]") -> None:
    """Look at the heads of many cells before the content of any is read.

    Raises:
        RecordError: Some are not done; the message names each of them, or the first ones.
    """
    faults = []
    for job, path in jobs:
        try:
            check_cell(path, job, head_only=True)
        except RecordError as error:
            faults.append(str(error))
    refuse_cells(faults, len(jobs))


def refuse_cells(faults: Sequence[str], cells: int) -> None:
    """Raise one error for all cells that are not done; nothing where there are none.

    Raises:
        RecordError: There are faults.
    """
    if faults:
        shown = [*faults[:_MOST_FAULTS], *(["..."] if len(faults) > _MOST_FAULTS else [])]
        what = "\n  ".join([f"{len(faults)} of {cells} cells cannot be used:", *shown])
        raise RecordError(f"{what}\nremove these files and run their cells again")


_MOST_FAULTS = 20


def as_text(value: Any) -> str:
    """A setting as text: text as it is, all else as canonical JSON, which rows also store for structured settings."""
    from dia.utils.canonical_json import canonical

    return value if isinstance(value, str) else canonical(value)


def names(values: Any) -> str:
    """Names in a message, sorted."""
    return ", ".join(sorted(map(str, values))) or "none"


def one_line(error: BaseException) -> str:
    """The message of a library's error in one line."""
    return " ".join(str(error).split())[:300]


def _content_length(raw: IO[bytes]) -> int:
    """The number of bytes before the footer."""
    raw.seek(-_FOOTER_END, os.SEEK_END)
    end = raw.tell()
    return end - int.from_bytes(raw.read(4), "little")


def _read_head(path: Path, file: pq.ParquetFile, expected: "AttackJob | Cell | None") -> CellHead:
    """The head, once it is known to be of this format and of what is expected."""
    arrow = file.schema_arrow  # made anew at each access
    try:
        found = json.loads((arrow.metadata or {})[HEAD])
    except (KeyError, ValueError):
        raise RecordError(f"{path}: a Parquet file, but not one that dia wrote; remove it") from None
    if found.get("format") != FORMAT or not {"job", "cell_id", "rows"} <= set(found):
        raise RecordError(
            f"{path}: not a cell of format {FORMAT} (it says {found!s:.80}); run the cell again"
        )
    content = (file.metadata.metadata or {}).get(CONTENT, b"").decode(errors="replace")
    head = CellHead(found["job"], found["cell_id"], found["rows"], content)
    _check_identity(path, head, expected)
    older = pa.schema(
        [field for field in schema() if field.name in arrow.names or not came_later(field.name)]
    )
    if not _nullable(arrow).equals(
        _nullable(older)
    ):  # what must be there now or then is checked when rows are written
        _refuse_schema(path, arrow)
    if not content:
        raise RecordError(
            f"{path}: written again by something else than dia; remove it and run the cell again"
        )
    return head


def _check_identity(path: Path, head: CellHead, expected: "AttackJob | Cell | None") -> None:
    from dia.jobs.attack_job import AttackJob

    if expected is None:
        return
    job = expected if isinstance(expected, AttackJob) else None
    cell_id = (expected.cell if isinstance(expected, AttackJob) else expected).id
    if head.cell_id != cell_id:
        raise RecordError(f"{path}: holds the cell {head.cell_id}, expected {cell_id}")
    if job is None:
        return
    found, wanted = _with_later_settings(head.job), json.loads(job.canonical_json())
    if found != wanted:
        raise RecordError(f"{path}: made with other settings: {differences(found, wanted)}")


def _with_later_settings(job: Mapping[str, Any]) -> dict[str, Any]:
    """A job of an older version: settings that came later have their default, which is how it was computed."""
    from dia.settings.scenario import Settings

    return {**job, "settings": Settings().model_dump(mode="json") | job.get("settings", {})}


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The differences of a job from the one that is wanted: settings by name, parts of the dataset as ``dataset.x``."""

    def flat(job: Mapping[str, Any]) -> dict[str, Any]:
        dataset = dict(_leaves("dataset", job.get("dataset", {})))
        return {**job.get("settings", {}), **dataset, "model_definition": job.get("model")}

    before, now = flat(found), flat(wanted)
    return {name: before.get(name) for name in {**now, **before} if before.get(name) != now.get(name)}


def _nullable(columns: pa.Schema) -> pa.Schema:
    """Columns by name, type and order alone: older versions let fewer be absent."""
    return pa.schema([field.with_nullable(True) for field in columns])


def came_later(column: str) -> bool:
    """Tell whether cells of older versions may lack a column: a setting, how it was computed, or what may be absent."""
    return column not in _ALWAYS


_ALWAYS = {c.name for c in COLUMNS if c not in PROVENANCE and not c.nullable}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values inside nested mappings, by dotted names."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, inner in value.items():
        yield from _leaves(f"{name}.{key}", inner)


def _refuse_schema(path: Path, arrow: pa.Schema) -> None:
    found, wanted = set(arrow.names), set(schema().names)
    if found != wanted:
        raise RecordError(
            f"{path}: written by another version of dia (missing columns: {names(wanted - found)}; "
            f"unknown columns: {names(found - wanted)}); run the cell again"
        )
    kinds = dict(zip(arrow.names, arrow.types, strict=True))
    for field in schema():
        if kinds[field.name] != field.type:
            raise RecordError(f"{path}: column {field.name} is {kinds[field.name]}, expected {field.type}")
    raise RecordError(
        f"{path}: its columns are in another order than dia writes them; remove it and run the cell again"
    )
