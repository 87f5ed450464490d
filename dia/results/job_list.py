"""The job list: which cells a collector reads, where, and what each was made for; folders are never searched."""

import json
from collections.abc import Iterable
from pathlib import Path

from dia.errors import ConfigError, RecordError
from dia.jobs.attack_job import AttackJob


def job_list_text(jobs: Iterable[tuple[AttackJob, Path]]) -> str:
    """One JSON line per job: ``{"job": {"cell": ..., "settings": ..., "dataset": ...}, "path": file}``."""
    return "".join(
        f'{{"job": {job.canonical_json()}, "path": {json.dumps(str(path))}}}\n' for job, path in jobs
    )


def read_job_list(path: str | Path) -> list[tuple[AttackJob, Path]]:
    """Read what :func:`job_list_text` wrote.

    Raises:
        RecordError: The file cannot be read, a line is not of this form, or a cell is listed twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"cannot read the job list {path}: {error}") from None
    jobs: dict[str, tuple[AttackJob, Path]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            job = AttackJob.parse(json.dumps(entry["job"]))
            if job.cell.id in jobs:
                raise ValueError(f"{job.cell.id} is listed twice")
            jobs[job.cell.id] = (job, Path(entry["path"]))
        except (ConfigError, ValueError, TypeError, KeyError, AttributeError) as error:
            wanted = '{"job": {"cell": ..., "settings": ..., "dataset": ...}, "path": "..."}, as `dia cells` writes it'
            raise RecordError(f"{path}, line {number}: expected {wanted}, got {line:.80} ({error})") from None
    return list(jobs.values())


def split_by_existence(
    jobs: list[tuple[AttackJob, Path]],
) -> tuple[list[tuple[AttackJob, Path]], list[tuple[AttackJob, Path]]]:
    """Split a job list in cells that have a result file and cells that do not."""
    found = [path.is_file() for _, path in jobs]
    here = [job for job, there in zip(jobs, found, strict=True) if there]
    return here, [job for job, there in zip(jobs, found, strict=True) if not there]
