"""The outcome of an iterative attack: the best start of each victim."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dia.attacks.optimisation.state import SearchState
from dia.attacks.outcome import Outcome
from dia.attacks.stop_reasons import CONVERGED, FAILED, LIMIT, PATIENCE
from dia.settings.scenario import Settings


def best_of_starts(
    finished: Sequence[SearchState], settings: Settings, victims_per_chunk: int, *, optimised_masks: bool
) -> Outcome:
    """The outcome of victims that have stopped; of several starts, that with the smallest matching distance.

    A start that failed is kept only where all starts of its victim did.

    Args:
        finished: States of victims that have stopped, each once per start.
        settings: The cell's settings.
        victims_per_chunk: Victims that shared a batch.
        optimised_masks: Whether the attack optimised masks.
    """

    def joined(part: Callable[[SearchState], Tensor]) -> Tensor:
        return torch.cat([part(state) for state in finished])

    victims, failed = joined(lambda s: s.victims), joined(lambda s: s.failed)
    distances = joined(lambda s: s.best_distance).masked_fill(failed, torch.inf)
    starts = joined(lambda s: torch.full_like(s.victims, s.restart))
    # Sort by victim, distance, start; the first entry of each victim is its best start.
    order = np.lexsort([t.cpu().numpy() for t in (starts, distances, victims)])  # the last key counts most
    _, first = np.unique(victims.cpu().numpy()[order], return_index=True)
    chosen = torch.from_numpy(order[first]).to(victims.device)
    seconds = torch.zeros(len(chosen), dtype=torch.float64, device=victims.device)
    seconds.index_add_(0, victims, joined(lambda s: s.seconds))

    def best(part: Callable[[SearchState], Tensor]) -> Tensor:
        return joined(part)[chosen]

    loss = best(lambda s: s.best.loss)
    reasons = _stop_reasons(best, loss, settings)
    notes = (
        [f"{int(failed.sum())} of {len(failed)} starts failed"]
        if failed.any() and settings.restarts > 1
        else []
    )
    sites = zip(*(state.best_masks for state in finished), strict=True)
    masks = [torch.cat(site)[chosen] for site in sites]
    return Outcome(
        x=best(lambda s: s.best_x),
        masks=masks if optimised_masks else None,
        total_loss=loss,
        matching_distance=best(lambda s: s.best_distance),
        iterations=best(lambda s: s.stopped_at),
        best_iteration=best(lambda s: s.best.iteration),
        stop_reason=reasons,
        restart=starts[chosen],
        seconds=seconds,
        victims_per_chunk=victims_per_chunk,
        notes=notes,
    )


def _stop_reasons(
    best: Callable[[Callable[[SearchState], Tensor]], Tensor], loss: Tensor, settings: Settings
) -> list[str]:
    """The reason why the search of each victim ended, from its best start."""
    waited = best(lambda s: s.best.waited) >= settings.early_stop_patience
    bad_gradient, failed = best(lambda s: s.bad_gradient), best(lambda s: s.failed)
    reasons = [
        CONVERGED if value < settings.loss_tolerance else PATIENCE if patience else LIMIT
        for value, patience in zip(loss, waited, strict=True)
    ]
    stopped_at = best(lambda s: s.stopped_at)
    for victim in failed.nonzero().flatten().tolist():
        # A gradient that is not finite soon makes the loss so: it is then the cause.
        what = "gradient of the loss" if bad_gradient[victim] else "loss"
        reasons[victim] = (
            f"{FAILED}: the {what} is not finite at iteration {int(stopped_at[victim]) - 1}; check the model, the "
            "client gradient and the learning rate"
        )
    return reasons
