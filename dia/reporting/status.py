"""The state of each cell of a config, and an estimate of how long the rest will take."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dia.config.config import Config
from dia.config.jobs import attack_job
from dia.errors import RecordError
from dia.execution.attempts import Attempt, read_attempt
from dia.jobs.cell import Cell
from dia.utils.text import shorten

CellState = Literal["done", "running", "interrupted", "failed", "missing"]
STATES: tuple[CellState, ...] = ("done", "running", "interrupted", "failed", "missing")


NOT_STARTED = "not started"
_MOST_NAMED = 10


@dataclass(frozen=True)
class CellStatus:
    """One cell.

    Attributes:
        cell: The cell.
        state: ``done`` (its file is there, whole, unchanged, and made for the config's job), ``running``,
            ``interrupted`` (stopped with its state saved), ``failed``, or ``missing`` (not started, or its file
            cannot be used).
        reason: Why it is not done; empty where it is.
        seconds: Wall time of its attack, where it is done.
        iterations: Its victims' iterations together, where it is done; a closed form has none.
        attempt: The record of its last attempt, where it is not done and has one.
    """

    cell: Cell
    state: CellState
    reason: str = ""
    seconds: float | None = None
    iterations: int = 0
    attempt: Attempt | None = None


def grid_status(config: Config) -> list[CellStatus]:
    """Look at every cell of a config, in its order."""
    return [cell_status(config, cell) for cell in config.cells]


def cell_status(config: Config, cell: Cell) -> CellStatus:
    """Look at one cell: at its file, and where there is none at its attempt record."""
    if not config.cell_path(cell).exists():
        return status_without_file(cell, read_attempt(config.attempt_path(cell)))
    return status_of_file(config, cell)


def status_of_file(config: Config, cell: Cell, *, head_only: bool = False) -> CellStatus:
    """The status of a cell that has a file.

    Args:
        config: The config.
        cell: The cell.
        head_only: Do not read all of the file to see that it is unchanged.
    """
    from dia.results.cell_head import open_cell

    path = config.cell_path(cell)
    try:
        with open_cell(path, attack_job(config, cell), head_only=head_only) as (file, _):
            spent = file.read(["seconds", "iterations"], use_threads=False)
    except RecordError as error:
        return CellStatus(cell, "missing", str(error).removeprefix(f"{path}: "))
    seconds, iterations = (sum(spent[name].to_pylist()) for name in ("seconds", "iterations"))
    return CellStatus(cell, "done", seconds=float(seconds), iterations=iterations)


def status_without_file(cell: Cell, attempt: Attempt | None) -> CellStatus:
    """The status of a cell that has no file, by the record of its last attempt."""
    if attempt is None or attempt.cell_id != cell.id:
        return CellStatus(cell, "missing", NOT_STARTED)
    reason = attempt.describe() + (f" (attempt {attempt.attempt})" if attempt.attempt > 1 else "")
    if attempt.is_running():
        return CellStatus(cell, "running", reason, attempt=attempt)
    states: dict[str, CellState] = {"interrupted": "interrupted", "done": "missing"}
    return CellStatus(cell, states.get(attempt.state, "failed"), reason, attempt=attempt)


def with_reasons(cells: Sequence[CellStatus]) -> list[str]:
    """A line ``cell: reason`` per cell; those that are not started, hundreds at first, share the last one."""
    waiting = [status.cell.id for status in cells if status.reason == NOT_STARTED]
    lines = [f"{status.cell.id}: {status.reason}" for status in cells if status.reason != NOT_STARTED]
    return [*lines, f"{shorten(waiting, _MOST_NAMED)}: {NOT_STARTED}"] if waiting else lines


def seconds_left(cells: Sequence[CellStatus]) -> tuple[float, int]:
    """Attack time of all cells that are not done, see :func:`expected_seconds`.

    Returns:
        The seconds in all, and the number of cells without any done cell like them, which count as 0 seconds.
    """
    expected = [seconds for _, seconds in expected_seconds(cells)]
    return sum(seconds or 0.0 for seconds in expected), expected.count(None)


def expected_seconds(cells: Sequence[CellStatus]) -> list[tuple[CellStatus, float | None]]:
    """The attack time of each cell that is not done, estimated from those that are; None where none is like it.

    A cell takes the median of the done cells most like it: of the same scenario, dataset, model and attack, else of
    the same model and attack, else of the same model, but for closed forms, which say nothing about iterations.
    """
    expected: list[tuple[CellStatus, float | None]] = []
    measured: dict[tuple[str, ...], list[float]] = {}
    for status in cells:
        if status.seconds is not None:
            for group in _similarity_groups(status.cell, iterative=status.iterations > 0):
                measured.setdefault(group, []).append(status.seconds)
    for status in cells:
        if status.state != "done":
            groups = _similarity_groups(status.cell)
            known = next((measured[group] for group in groups if group in measured), None)
            expected.append((status, statistics.median(known) if known else None))
    return expected


def _similarity_groups(cell: Cell, iterative: bool = True) -> Iterable[tuple[str, ...]]:
    """Groups that a cell belongs to, the closest first; the last one is of iterative attacks alone."""
    yield cell.scenario, cell.dataset, cell.model, cell.attack
    yield cell.model, cell.attack
    if iterative:
        yield (cell.model,)
