"""Progress of an attack: a bar on a terminal, timestamped lines in a log."""

import sys
import time

from torch import Tensor

from dia.attacks.optimisation.state import SearchState
from dia.utils.log import LOG

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """An observer that shows how far the attack is.

    Args:
        cell_id: Named beside the bar.
        victims: Victims of the cell.
        max_iterations: Most iterations of each.
    """

    def __init__(self, cell_id: str, victims: int, max_iterations: int) -> None:
        from tqdm import tqdm

        self.victims, self.max_iterations = victims, max_iterations
        self.done = 0
        self._last = time.monotonic()
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=victims * max_iterations, desc=cell_id, unit="it", disable=not terminal)
        self._lines = not terminal

    def __call__(self, state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None:
        self.done += len(state)
        now = time.monotonic()
        if now - self._last < (SECONDS_BETWEEN_LINES if self._lines else 0.5):
            return
        self._last = now
        best = float(state.best.loss.median()) if state.iteration else float(total_loss.median())
        if self._lines:
            LOG.info(
                "iteration %d of at most %d with %d of %d victims in this pass, median best loss %.3g",
                state.iteration, self.max_iterations, len(state), self.victims, best,
            )  # fmt: skip
        else:
            self._bar.update(self.done - self._bar.n)
            self._bar.set_postfix(iteration=state.iteration, victims=len(state), loss=f"{best:.2g}")

    def close(self) -> None:
        self._bar.close()
