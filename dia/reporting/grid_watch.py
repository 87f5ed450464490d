"""A running grid, looked at again and again: only files that changed since the last look are read."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from dia.config.config import Config
from dia.execution.attempts import read_attempt
from dia.jobs.cell import Cell
from dia.reporting.status import (
    NOT_STARTED,
    CellState,
    CellStatus,
    expected_seconds,
    status_of_file,
    status_without_file,
)

Value = TypeVar("Value")
HOUR = 3600.0
WINDOWS = ((HOUR, "hour"), (24 * HOUR, "day"))
_FEWEST = 2  # finished cells: one alone tells no rate


@dataclass(frozen=True)
class Look:
    """A grid at one moment.

    Attributes:
        time: Seconds since the epoch.
        cells: Every cell, in the config's order.
        finished_at: When the cells that are done were written, seconds since the epoch, in the same order.
    """

    time: float
    cells: list[CellStatus]
    finished_at: list[float]

    def of(self, *states: CellState) -> list[CellStatus]:
        """The cells in one of the states."""
        return [status for status in self.cells if status.state in states]

    def faulty(self) -> list[CellStatus]:
        """The cells that failed, and those whose file cannot be used."""
        unusable = [status for status in self.of("missing") if status.reason != NOT_STARTED]
        return [*self.of("failed"), *unusable]

    def over(self) -> bool:
        """Tell whether no cell is left that runs or waits for its turn."""
        return not self.of("running", "interrupted", "missing")

    def cells_per_hour(self) -> tuple[float, str] | None:
        """The number of cells that finish per hour, and the span counted: the last hour, or day where few finish.

        A run younger than that counts from the start of its first cell. None where too few have finished.
        """
        spent = [status.seconds or 0.0 for status in self.of("done")]
        for window, name in WINDOWS:
            since = self.time - window
            recent = [
                (end, end - took) for end, took in zip(self.finished_at, spent, strict=True) if end > since
            ]
            if len(recent) >= _FEWEST:
                period = self.time - max(since, min(start for _, start in recent))
                return len(recent) * HOUR / period, name
        return None

    def seconds_to_end(self, jobs: int) -> tuple[float | None, int]:
        """The time until the last cell is done, without those that failed.

        Args:
            jobs: Cells that run at a time, at least; more where more are running.

        Returns:
            The seconds, None where nothing is known; and the number of cells that are not counted, as none like them
            is done.
        """
        left: list[float] = []
        unknown = 0
        for status, seconds in expected_seconds(self.cells):
            if status.state == "failed":
                continue
            if seconds is None:
                unknown += 1
            else:
                left.append(max(0.0, seconds - self._elapsed(status)))
        if not left:
            return None, unknown
        return max(*left, sum(left) / max(jobs, len(self.of("running"))), 0.0), unknown

    def _elapsed(self, status: CellStatus) -> float:
        """The seconds for which the cell has been running."""
        if status.state != "running" or status.attempt is None:
            return 0.0
        return max(0.0, self.time - datetime.fromisoformat(status.attempt.started_at).timestamp())


class GridWatch:
    """Looks at all cells of a config, and remembers what it read.

    The content of a finished file is not compared with its hash, as `dia status` does: its head is enough here.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._places = [(cell, config.cell_path(cell), config.attempt_path(cell)) for cell in config.cells]
        self._seen: dict[Path, tuple[tuple[int, ...], object]] = {}

    def look(self, time: float) -> Look:
        """The grid now, which is ``time``."""
        cells, finished_at = list[CellStatus](), list[float]()
        for place in self._places:
            status, written_at = self._status(*place)
            cells.append(status)
            if status.state == "done":
                finished_at.append(written_at)
        return Look(time, cells, finished_at)

    def _status(self, cell: Cell, file: Path, record: Path) -> tuple[CellStatus, float]:
        """The cell's status, and when its file was written."""
        if found := _stat(file):
            status = self._once(file, found, lambda: status_of_file(self.config, cell, head_only=True))
            return status, found.st_mtime
        written = _stat(record)
        attempt = self._once(record, written, lambda: read_attempt(record)) if written else None
        return status_without_file(cell, attempt), 0.0

    def _once(self, path: Path, found: os.stat_result, read: Callable[[], Value]) -> Value:
        """The content of a file, read again only where it is another than before."""
        signature = (found.st_mtime_ns, found.st_size, found.st_ino)
        before = self._seen.get(path)
        if before is None or before[0] != signature:
            self._seen[path] = before = (signature, read())
        value: Value = before[1]  # type: ignore[assignment]
        return value


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:  # it is not there, or its folder cannot be reached just now
        return None
