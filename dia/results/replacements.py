"""Finished cells that a config would replace, because it has other settings than they were made with.

Light until one is found: the workflow asks before it runs anything, for all its cells.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dia.errors import RecordError
from dia.jobs.attack_job import AttackJob

SWITCH = "replace"
"""The key of ``--config`` that allows it."""

_MOST_CELLS = 5
_TAIL = 8  # the length of a Parquet file's footer in four bytes, and its magic


@dataclass(frozen=True)
class Replacement:
    """A finished cell made for another job.

    Attributes:
        cell_id: The cell.
        changes: Setting -> its value in the file, and in the config.
    """

    cell_id: str
    changes: dict[str, tuple[Any, Any]]


def find_replacements(jobs: Iterable[tuple[AttackJob, Path]]) -> list[Replacement]:
    """The cells that are finished and were made for another job than the one given with their file's path.

    Damaged and foreign files are no finished cells.
    """
    found = []
    for job, path in jobs:
        footer = _footer(path)
        if footer is None or _text_in_head(job) in footer:
            continue
        if changes := _changes(job, path):
            found.append(Replacement(job.cell.id, changes))
    return found


def describe_replacements(found: Sequence[Replacement]) -> str:
    """Say how many finished cells would be replaced, which, why, and what to do."""
    counted = "1 finished cell" if len(found) == 1 else f"{len(found)} finished cells"
    lines = [
        f"{counted} will be replaced, because the config has other settings now than they were made with:"
    ]
    for cell in found[:_MOST_CELLS]:
        changes = [f"{name} {_short(old)} -> {_short(new)}" for name, (old, new) in cell.changes.items()]
        lines.append(f"{cell.cell_id}: {', '.join(changes)}")
    if len(found) > _MOST_CELLS:
        lines.append(f"... and {len(found) - _MOST_CELLS} more")
    lines.append(f"To keep them, give the config another name; to replace them, add --config {SWITCH}=true")
    return "\n  ".join(lines)


def _footer(path: Path) -> bytes | None:
    """The footer of a Parquet file as it is; None where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(-_TAIL, os.SEEK_END)
            length = int.from_bytes(file.read(4), "little")
            file.seek(-_TAIL - length, os.SEEK_END)
            return file.read(length)
    except OSError:
        return None


def _text_in_head(job: AttackJob) -> bytes:
    """A job as the head of its cell spells it; see :func:`dia.results.cell_head.head_metadata`."""
    return json.dumps(json.loads(job.canonical_json()), sort_keys=True).encode()


def _changes(job: AttackJob, path: Path) -> dict[str, tuple[Any, Any]]:
    from dia.results.cell_head import differences, open_cell

    try:
        with open_cell(path, job.cell, head_only=True) as (_, head):
            before, now = head.job, json.loads(job.canonical_json())
    except RecordError:
        return {}
    old, new = differences(before, now), differences(now, before)
    return {name: (old[name], new[name]) for name in old}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
