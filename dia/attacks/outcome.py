"""The result of an attack."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Outcome:
    """The result of an attack, one row per victim, in the order of the problem.

    Attributes:
        x: (V, N, C, H, W) reconstructions, normalised.
        masks: Recovered masks, per site (V, N, *site.shape) bool, True where an entry is kept; None where the attack
            recovers none.
        total_loss, matching_distance: (V,) at the best iteration.
        iterations, best_iteration: (V,) iterations made, and the one (from 0) with the best loss.
        restart: (V,) which start was kept, from 0: the one with the smallest matching distance.
        stop_reason: Why it ended; see :mod:`dia.attacks.stop_reasons`.
        seconds: (V,) each victim's share of the time, over all its starts.
        victims_per_chunk: How many victims shared a batch, at most.
        notes: Remarks for the reader of a row.
        claimed: (V, N) bool, reconstructions that the attack itself knows to be private images; None where it cannot
            know.
    """

    x: Tensor
    masks: list[Tensor] | None
    total_loss: Tensor
    matching_distance: Tensor
    iterations: Tensor
    best_iteration: Tensor
    restart: Tensor
    stop_reason: list[str]
    seconds: Tensor
    victims_per_chunk: int
    notes: list[str] = field(default_factory=list)
    claimed: Tensor | None = None

    @classmethod
    def of_nobody(cls) -> "Outcome":
        """The outcome for a problem without victims."""
        none = torch.zeros(0)
        return cls(none, None, none, none, none, none, none, [], none, 0)
