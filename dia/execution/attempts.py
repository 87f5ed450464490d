"""The fate of a cell that has no result: the record that each attack keeps outside its outputs.

A failed job's outputs are deleted and a killed one says nothing, so the attack itself notes where it runs and how far
it is, in a small JSON file beside its log. ``kill -9`` leaves the last heartbeat.
"""

import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from dia.utils.files import atomic_path

HEARTBEAT_SECONDS = 30.0
SILENT_SECONDS = 600.0
"""A running attempt that has not been heard of for this long is taken for dead."""


@dataclass
class Attempt:
    """One try at a cell.

    Attributes:
        cell_id: The cell.
        attempt: Which try this is, from 1.
        host, pid, job_id: Where it runs; ``job_id`` is Slurm's, empty elsewhere.
        started_at, heartbeat_at: UTC, ISO 8601.
        iteration: Iterations done in the current pass.
        victims_left: Victims that have not stopped yet.
        loss: Median best loss of the current pass; None before there is one, and where nothing is optimised.
        state: ``running``, ``done``, ``interrupted`` or ``failed``.
        error: Why it failed or was interrupted; empty otherwise.
    """

    cell_id: str
    attempt: int
    host: str
    pid: int
    job_id: str
    started_at: str
    heartbeat_at: str
    iteration: int = 0
    victims_left: int = 0
    state: str = "running"
    error: str = ""
    loss: float | None = None

    def describe(self) -> str:
        """The reason why the cell has no result, for a table's list of missing cells."""
        where = f"{self.host}, job {self.job_id}" if self.job_id else self.host
        if self.is_running():
            return f"running on {where}, iteration {self.iteration}"
        if self.state == "running":
            return (
                f"died without a word on {where} after iteration {self.iteration} "
                f"(last heard of {self.heartbeat_at}; killed, out of memory, or the node failed)"
            )
        if self.state == "done":
            return f"done on {where}, but its result file is gone"
        return f"{self.state} on {where} at iteration {self.iteration}: {self.error}"

    def is_running(self) -> bool:
        """Tell whether the attempt is still running, as far as can be told."""
        if self.state != "running":
            return False
        silent = (datetime.now(UTC) - datetime.fromisoformat(self.heartbeat_at)).total_seconds()
        return silent < SILENT_SECONDS and self._process_exists()

    def _process_exists(self) -> bool:
        """Tell whether the process still is there, where that can be told (the same host)."""
        if self.host != platform.node():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


class AttemptRecord:
    """Keeps an :class:`Attempt` on disk up to date.

    Args:
        path: The JSON file; an earlier attempt's count goes on.
        cell_id: The cell.
    """

    def __init__(self, path: Path, cell_id: str) -> None:
        self.path = path
        before = read_attempt(path)
        now = _now()
        self.attempt = Attempt(
            cell_id=cell_id,
            attempt=1 + (before.attempt if before and before.cell_id == cell_id else 0),
            host=platform.node(),
            pid=os.getpid(),
            job_id=os.environ.get("SLURM_JOB_ID", ""),
            started_at=now,
            heartbeat_at=now,
        )
        self._written = 0.0
        self._write()

    def heartbeat(self, iteration: int, victims_left: int, loss: Callable[[], float]) -> None:
        """Note how far the attack is; written at most every half minute, and ``loss`` is asked only then."""
        self.attempt.iteration, self.attempt.victims_left = iteration, victims_left
        if time.monotonic() - self._written >= HEARTBEAT_SECONDS:
            value = loss()  # a device has to finish its work first
            self.attempt.loss = value if math.isfinite(value) else None
            self._write()

    def end(self, state: str, error: str = "") -> None:
        """``done``, ``interrupted`` or ``failed``."""
        self.attempt.state, self.attempt.error = state, error
        self._write()

    def _write(self) -> None:
        self.attempt.heartbeat_at = _now()
        self._written = time.monotonic()
        try:
            with atomic_path(self.path) as temporary:
                temporary.write_text(json.dumps(asdict(self.attempt), indent=1) + "\n", encoding="utf-8")
        except OSError:
            # The record is about the attack, never a reason for it to fail (a full disk, say).
            return


def read_attempt(path: Path) -> Attempt | None:
    """The record at ``path``; None where there is none or it cannot be understood."""
    try:
        return Attempt(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
