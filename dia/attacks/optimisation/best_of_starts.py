"""The outcome of an iterative attack: the best start of each victim."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dia.attacks.optimisation.state import SearchState
from dia.attacks.outcome import CONVERGED, LIMIT, PATIENCE, Outcome
from dia.settings.scenario import Settings


def outcome_of(
    done: Sequence[SearchState], settings: Settings, per_pass: int, *, masks_sought: bool
) -> Outcome:
    """What the states of stopped victims amount to; of several starts the one with the least matching distance.

    Args:
        done: States of victims that have stopped, each once a start.
        settings: The cell's settings.
        per_pass: Victims that shared a pass.
        masks_sought: Whether the attack optimised masks.
    """

    def everyone(name: Callable[[SearchState], Tensor]) -> Tensor:
        return torch.cat([name(state) for state in done])

    victims, distances = everyone(lambda s: s.victims), everyone(lambda s: s.best_distance)
    starts = everyone(lambda s: torch.full_like(s.victims, s.restart))
    order = np.lexsort([t.cpu().numpy() for t in (starts, distances, victims)])  # the last one sorts first
    _, first = np.unique(victims.cpu().numpy()[order], return_index=True)
    chosen = torch.from_numpy(order[first]).to(victims.device)
    seconds = torch.zeros(len(chosen), dtype=torch.float64, device=victims.device)
    seconds.index_add_(0, victims, everyone(lambda s: s.seconds))

    def rows(name: Callable[[SearchState], Tensor]) -> Tensor:
        return everyone(name)[chosen]

    best, stopped = rows(lambda s: s.best.loss), rows(lambda s: s.stopped)
    waited = rows(lambda s: s.best.waited)
    reasons = [
        CONVERGED if loss < settings.loss_tolerance else PATIENCE if patience else LIMIT
        for loss, patience in zip(best, waited >= settings.early_stop_patience, strict=True)
    ]
    kept = [rows(lambda s, i=i: s.best_kept[i]) for i in range(len(done[0].best_kept))]  # type: ignore[misc]
    return Outcome(
        x=rows(lambda s: s.best_x),
        kept=kept if masks_sought else None,
        total_loss=best,
        matching_distance=rows(lambda s: s.best_distance),
        iterations=stopped,
        best_iteration=rows(lambda s: s.best.iteration),
        stop_reason=reasons,
        restart=starts[chosen],
        seconds=seconds,
        victims_per_chunk=per_pass,
    )
