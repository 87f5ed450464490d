"""The job list: which cells a collector reads, and where. Folders are never searched for results."""

import json
from pathlib import Path

from dia.errors import RecordError
from dia.jobs.cell import Cell


def read_job_list(path: str | Path) -> list[tuple[Cell, Path]]:
    """Read JSON lines ``{"cell": {axis: value, ...}, "path": file}``, as ``dia cells`` writes them.

    Raises:
        RecordError: The file cannot be read, a line is not of this form, or a cell is listed twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"cannot read the job list {path}: {error}") from None
    jobs: dict[Cell, Path] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            cell = Cell(**entry["cell"])
            if cell in jobs:
                raise ValueError(f"{cell.id} is listed twice")
            jobs[cell] = Path(entry["path"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            wanted = '{"cell": {axis: value, ...}, "path": "..."}'
            raise RecordError(f"{path}, line {number}: expected {wanted}, got {line:.80} ({error})") from None
    return list(jobs.items())


def split_by_existence(
    jobs: list[tuple[Cell, Path]],
) -> tuple[list[tuple[Cell, Path]], list[tuple[Cell, Path]]]:
    """Split a job list in cells that have a result file and cells that do not."""
    found = [path.is_file() for _, path in jobs]
    here = [job for job, there in zip(jobs, found, strict=True) if there]
    return here, [job for job, there in zip(jobs, found, strict=True) if not there]
