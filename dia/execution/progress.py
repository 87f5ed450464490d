"""Progress of an attack: a bar on a terminal, timestamped lines in a log."""

import contextlib
import sys
import time

from torch import Tensor

from dia.attacks.optimisation.state import SearchState
from dia.utils.log import LOG
from dia.utils.progress_bar import progress_bar

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_UPDATES = 0.5


class Progress:
    """An observer that shows how far the attack is.

    Args:
        cell_id: Named beside the bar.
        victims: Victims of the cell.
        max_iterations: Most iterations of each.
    """

    def __init__(self, cell_id: str, victims: int, max_iterations: int) -> None:
        self.victims, self.max_iterations = victims, max_iterations
        self.done = 0
        self._last = time.monotonic()
        self._lines = not sys.stderr.isatty()
        self._interval = SECONDS_BETWEEN_LINES if self._lines else SECONDS_BETWEEN_UPDATES
        self._bar = progress_bar("it", "{task.fields[state]}")
        self._bar.start()
        self._task = self._bar.add_task(cell_id, total=victims * max_iterations, state="")

    def __call__(self, state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None:
        self.done += len(state)
        now = time.monotonic()
        if now - self._last < self._interval:
            return
        self._last = now
        best = float(state.best.loss.median()) if state.iteration else float(total_loss.median())
        if self._lines:
            LOG.info(
                "iteration %d of at most %d with %d of %d victims in this pass, median best loss %.3g",
                state.iteration, self.max_iterations, len(state), self.victims, best,
            )  # fmt: skip
        else:
            text = f"iteration={state.iteration}, victims={len(state)}, loss={best:.2g}"
            with contextlib.suppress(OSError):  # a terminal that is gone is no reason to fail
                self._bar.update(self._task, completed=self.done, state=text, refresh=True)

    def close(self) -> None:
        """Leave the bar where it is and give the terminal back."""
        with contextlib.suppress(OSError):
            self._bar.stop()
