"""All cells of a grid in one Parquet file, without pictures."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from dia.errors import RecordError
from dia.results.cell_file import PICTURE_NAMES, read_cell
from dia.results.cell_head import check_heads, refuse_cells
from dia.results.columns import HISTORY, PROVENANCE, SCORES, schema
from dia.utils.files import atomic_path
from dia.utils.text import shorten

if TYPE_CHECKING:
    from dia.jobs.attack_job import AttackJob
    from dia.jobs.cell import Cell

log = logging.getLogger(__name__)

_GROUP_BYTES = 64 * 2**20  # rows are gathered to groups of this size: bounded memory, few groups
FORMAT = 3  # raised when a file of an older format can no longer be read
_METADATA = {b"dia_results": str(FORMAT).encode()}
_LISTS = tuple(column.name for column in (*SCORES, *HISTORY) if column.type.startswith("list"))

JOB_HASH = "job_sha256"
"""A column beside those of a cell: the SHA-256 of the job that the row was made for."""


@dataclass
class Collected:
    """A summary of the collection: counts, the cells of each code fingerprint, and of each dataset's victim sets."""

    cells: int = 0
    rows: int = 0
    fingerprints: dict[str, list[str]] = field(default_factory=dict)
    victim_sets: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def add(self, cell: "Cell", rows: pa.Table) -> None:
        """Count a cell's rows."""
        self.cells += 1
        self.rows += rows.num_rows
        for fingerprint in set(rows["code_fingerprint"].to_pylist()):
            self.fingerprints.setdefault(fingerprint, []).append(cell.id)
        for victims in set(rows["victims_sha256"].to_pylist()):
            self.victim_sets.setdefault(cell.dataset, {}).setdefault(victims, []).append(cell.id)

    def check_victims(self) -> None:
        """Refuse cells of one dataset that attacked different victim sets: their mean would compare nothing.

        Raises:
            RecordError: Names the dataset and the cells of the smaller group.
        """
        for dataset, sets in self.victim_sets.items():
            if len(sets) > 1:
                most, *others = sorted(sets.items(), key=lambda item: -len(item[1]))
                cells = [cell for _, group in others for cell in group]
                shown = shorten(cells, 20)
                raise RecordError(
                    f"the victim set of dataset {dataset} changed between cells: {len(most[1])} cells attacked the "
                    f"one with sha256 {most[0][:12]}, but {shown} attacked another; remove the files of those "
                    "that are not wanted and run them again"
                )

    def warning(self) -> str | None:
        """A sentence naming the cells that other code computed than most, or None where all agree."""
        if len(self.fingerprints) < 2:
            return None
        groups = sorted(self.fingerprints.items(), key=lambda item: -len(item[1]))
        parts = [f"{len(groups[0][1])} cells with {groups[0][0][:12]}"]
        for fingerprint, cells in groups[1:]:
            shown = shorten(cells, 20)
            parts.append(f"{len(cells)} with {fingerprint[:12]}: {shown}")
        return "cells were computed by different versions of the code (code_fingerprint): " + "; ".join(parts)


def results_schema(compact: bool = False) -> pa.Schema:
    """The schema of the collected file: a cell's without pictures, and ``JOB_HASH``; compact: no lists of scores."""
    left_out = {*PICTURE_NAMES, *(_LISTS if compact else ())}
    older = {column.name for column in PROVENANCE}  # a cell of an older version may not say it
    kept = [
        column.with_nullable(column.nullable or column.name in older)
        for column in schema()
        if column.name not in left_out
    ]
    kept.append(pa.field(JOB_HASH, pa.string(), nullable=False))
    return pa.schema(kept, metadata=_METADATA)


def collect(jobs: "Sequence[tuple[AttackJob, Path]]", out: str | Path, *, compact: bool = False) -> Collected:
    """Copy the rows of cells that are done, in the given order, to one file, atomically.

    The heads of all files come first: a cell made for another job, or cut off, is told before any is read. Then
    files are read one after the other and written in groups, so memory does not grow with their number.

    Args:
        jobs: Each cell's job with its file: an explicit list, folders are never searched.
        out: The collected Parquet file. Without any cell it is a table without rows.
        compact: Leave out curves and scores of single images, which are most of its size and in no table.

    Raises:
        RecordError: Cells are not done (the message names all of them, or the first ones), one is listed twice, or
            cells of one dataset attacked different victim sets; ``out`` is left as it was.
    """
    seen = set()
    for job, path in jobs:
        if job.cell.id in seen:
            raise RecordError(f"{path}: the cell {job.cell.id} is listed twice")
        seen.add(job.cell.id)
    check_heads(jobs)
    summary, faults = Collected(), list[str]()
    wanted = results_schema(compact)
    group: list[pa.Table] = []
    size = 0
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, wanted, compression="zstd") as writer:
        for job, path in jobs:
            try:
                table = read_cell(path, job, wanted.names[:-1])
            except RecordError as error:
                faults.append(str(error))
                continue
            table = table.append_column(JOB_HASH, pa.array([job.sha256] * table.num_rows)).cast(wanted)
            summary.add(job.cell, table)
            group.append(table)
            size += table.nbytes
            if size > _GROUP_BYTES:
                writer.write_table(pa.concat_tables(group).combine_chunks())
                group, size = [], 0
        if group:
            writer.write_table(pa.concat_tables(group).combine_chunks())
        refuse_cells(faults, len(jobs))
        summary.check_victims()
    if warning := summary.warning():
        log.warning(warning)
    return summary


def read_results(path: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read columns (all where None) of a collected file.

    Raises:
        RecordError: The file is missing, damaged, not a collected file, or lacks a column.
    """
    path = Path(path)
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if (file.schema_arrow.metadata or {}).get(b"dia_results") != _METADATA[b"dia_results"]:
                raise RecordError(f"{path}: not a file of collected cells; make it with `dia collect`")
            if missing := set(columns or ()) - set(names):
                raise RecordError(
                    f"{path}: no column {', '.join(sorted(missing))}; the columns are {', '.join(names)}"
                )
            return file.read(
                columns=None if columns is None else list(dict.fromkeys(columns)), use_threads=False
            )
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; make it with `dia collect`") from None
    except (pa.ArrowException, OSError) as error:
        raise RecordError(
            f"{path}: truncated or damaged ({error}); make it again with `dia collect`"
        ) from error
