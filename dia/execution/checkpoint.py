"""A cell that was stopped goes on where it was.

Everything an attack carries is in its :class:`~dia.attacks.optimisation.state.SearchState` objects (random draws are
functions of seed, victim and start), so a checkpoint is those and the curves so far: one ``.npz`` without pickles,
replaced atomically. It belongs to one cell, its settings, victims and code; any other is refused and set aside, and the
cell starts from the beginning.
"""

import json
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dia.attacks.optimisation.state import SearchProgress, SearchState
from dia.errors import AttackError, AttackInterrupted
from dia.evaluation.history import Curves
from dia.execution.rescue import rescue_paths, write_somewhere
from dia.execution.signals import StopRequest
from dia.utils.files import atomic_path
from dia.utils.npz import read_npz
from dia.utils.tensors import pack_tensors, unpack_tensors

FORMAT = 6
SECONDS_BETWEEN = 300.0


class Checkpointer:
    """Saves a running attack now and then, and when it is told to stop.

    Args:
        path: The checkpoint's ``.npz``; outside a job's declared outputs, so that a failure does not delete it.
        fingerprint: What the checkpoint belongs to; see :func:`dia.execution.run_cell.fingerprint`.
        announce: Receives a line when a checkpoint is refused, used or cannot be written.
        stop: Looked at before every iteration.
        seconds_between: Time between checkpoints.
    """

    def __init__(
        self,
        path: Path,
        fingerprint: str,
        announce: Callable[[str], None],
        stop: StopRequest,
        seconds_between: float = SECONDS_BETWEEN,
    ) -> None:
        self.path, self.fingerprint, self.announce = path, fingerprint, announce
        self.stop, self.seconds_between = stop, seconds_between
        self._saved = time.monotonic()
        self._elsewhere = rescue_paths(fingerprint, path.suffix)

    def on_iteration(self, progress: SearchProgress, curves: Curves) -> None:
        """Save when it is time.

        Raises:
            AttackInterrupted: The attack was told to stop; everything done so far is saved.
        """
        if self.stop.reason is not None:
            where = f"stopped by {self.stop.reason} at iteration {progress.active[0].iteration}"
            try:
                saved = self.save(progress, curves)
            except OSError as error:
                older = "the last checkpoint" if self.path.exists() else "the beginning"
                raise AttackInterrupted(
                    f"{where}, and its state could not be saved ({error}); run the cell again and it goes on from "
                    f"{older}"
                ) from error
            there = (
                "there" if saved == self.path else f"there: {saved}, because {self.path} could not be written"
            )
            raise AttackInterrupted(f"{where}; run the cell again and it goes on from {there}")
        if time.monotonic() - self._saved >= self.seconds_between:
            try:
                if (saved := self.save(progress, curves)) != self.path:
                    self.announce(f"the checkpoint is in {saved}: {self.path} could not be written")
            except OSError as error:  # a full disk must not end an attack that still runs
                self._saved = time.monotonic()
                self.announce(f"going on without a checkpoint: {error}")

    def save(self, progress: SearchProgress, curves: Curves) -> Path:
        """Write the checkpoint, whole or not at all, and in another place where its own has no room.

        Returns:
            Where it is.

        Raises:
            OSError: No place has room.
        """
        arrays: dict[str, np.ndarray] = {}
        meta = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "chunk_size": progress.chunk_size,
            "initial_chunk_size": progress.initial_chunk_size,
            "pending": [(restart, victims.tolist()) for restart, victims in progress.pending],
            "active": pack_tensors(list(progress.active), "active", arrays),
            "finished": pack_tensors(progress.finished, "finished", arrays),
            "points": curves.points,
        }

        def write(path: Path) -> None:
            with atomic_path(path) as temporary:
                np.savez(temporary, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]

        saved = write_somewhere(self.path, self._elsewhere, write)
        self._saved = time.monotonic()
        return saved

    def restore(self, curves: Curves, check: Callable[[SearchProgress], None]) -> SearchProgress | None:
        """The progress that the checkpoint holds, and ``curves`` as they were; None where there is none to use.

        Args:
            curves: Receives the points so far.
            check: Raises where the attack cannot have made the progress; the checkpoint is then set aside as well.
        """
        written = [path for path in (self.path, *self._elsewhere) if path.exists()]
        newest_first = sorted(written, key=lambda path: -path.stat().st_mtime_ns)
        found = (self._restore(path, curves, check) for path in newest_first)
        return next((progress for progress in found if progress is not None), None)

    def _restore(
        self, path: Path, curves: Curves, check: Callable[[SearchProgress], None]
    ) -> SearchProgress | None:
        """The progress that one file holds; None, with the reason announced, where it cannot be used."""
        try:
            arrays = read_npz(path, None, what="checkpoint", error=AttackError)
            meta = json.loads(str(arrays["meta"]))
            if meta["format"] != FORMAT or meta["fingerprint"] != self.fingerprint:
                raise ValueError(
                    "it belongs to another cell, other settings, victims, code or version of torch"
                )
            progress = SearchProgress(
                chunk_size=meta["chunk_size"],
                initial_chunk_size=meta["initial_chunk_size"],
                pending=deque((restart, torch.tensor(victims)) for restart, victims in meta["pending"]),
                active=deque(unpack_tensors(list[SearchState], meta["active"], arrays)),
                finished=unpack_tensors(list[SearchState], meta["finished"], arrays),
            )
            check(progress)
            points = _points(meta["points"], len(curves.points))
        except Exception as error:  # whatever is wrong with the file, the cell can be computed without it
            aside = path.with_suffix(".refused.npz")
            path.replace(aside)
            self.announce(
                f"checkpoint refused and set aside as {aside}, starting from the beginning: {error}"
            )
            return None
        curves.points = points
        self.announce(
            f"going on from a checkpoint: {progress.victims_remaining} victims left, "
            f"iteration {progress.active[0].iteration}"
        )
        return progress

    def remove(self) -> None:
        """The cell is finished and written: its checkpoint goes."""
        for path in (self.path, *self._elsewhere):
            path.unlink(missing_ok=True)


def _points(stored: list[list[list[float]]], searches: int) -> list[list[Any]]:
    """The points of the curves of all searches.

    Raises:
        ValueError: There are more or fewer searches, or a point is no iteration with four numbers.
    """
    points = [[tuple(point) for point in search] for search in stored]
    kinds = (int, float, float, float, float)
    if len(points) != searches or any(tuple(map(type, p)) != kinds for search in points for p in search):
        raise ValueError(f"its curves are not those of {searches} searches")
    return points
