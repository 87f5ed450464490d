"""What an attack ends with."""

from dataclasses import dataclass, field

from torch import Tensor

CONVERGED, PATIENCE, LIMIT = "converged", "no_improvement", "max_iterations"


@dataclass
class Outcome:
    """What an attack ends with, a row a victim, in the order of the problem.

    Attributes:
        x: (V, N, C, H, W) reconstructions, normalised.
        kept: Recovered masks, per site (V, N, *site.shape) bool; None where masks were not sought.
        total_loss, matching_distance: (V,) at the best iteration.
        iterations, best_iteration: (V,) done, and the one (from 0) with the best loss.
        restart: (V,) which start was kept, from 0: the one with the smallest matching distance.
        stop_reason: ``converged`` (best loss < loss_tolerance), ``no_improvement``, ``max_iterations``, ...
        seconds: (V,) each victim's share of the time, over all its starts.
        victims_per_chunk: How many shared a pass, at most.
        notes: What a reader of the row should know.
        claimed: (V, N) bool, reconstructions that the attack itself knows to be private images; None where an
            attack cannot know.
    """

    x: Tensor
    kept: list[Tensor] | None
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
