"""An attacker that does not know the dropout rate: each mask tells its own.

The client computes ``x * m / (1 - p)``. With p unknown the attacker takes the share that its mask drops for p, so the
layer computes ``x * m / mean(m)``, differentiated through the mean: mask and rate are found together, and a mask
penalty has nothing left to say (its gap ``(1 - mean(m)) - p`` is zero).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from dia.gradients.engine import GradientEngine
from dia.gradients.factored import ParameterGradient
from dia.models.dropout import Site
from dia.utils.tensors import per_victim

START = 0.5
"""The rate at which the search for it begins."""
SMALLEST_MEAN = 1e-3
"""A mask that keeps less than this is not scaled up any further."""


class UnknownRateEngine:
    """An engine whose masks are scaled by the share that they keep, whatever rate its model was built with.

    Attributes:
        known: That engine, which takes the rate for known.
    """

    def __init__(self, engine: GradientEngine) -> None:
        self.known = engine
        self.model: nn.Module = engine.model
        self.shape, self.num_classes = engine.shape, engine.num_classes
        self.parameters, self.buffers = engine.parameters, engine.buffers
        self.sites: list[Site] = engine.sites

    @property
    def per_victim_parameters(self) -> list[str]:
        """The engine's own, which may find more of them."""
        return self.known.per_victim_parameters

    def check(self, x: Tensor, labels: Tensor) -> None:
        """The engine's own."""
        self.known.check(x, labels)

    def gradients(
        self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor, *, differentiable: bool
    ) -> dict[str, ParameterGradient]:
        """The engine's own, for masks (V, N, *site.shape) in [0, 1]."""
        return self.known.gradients(x, self._scaled(masks), labels, differentiable=differentiable)

    def losses(self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor) -> Tensor:
        """The engine's own."""
        return self.known.losses(x, self._scaled(masks), labels)

    def _scaled(self, masks: Sequence[Tensor] | None) -> list[Tensor] | None:
        """Masks that the engine's own factor 1 / (1 - p) turns into ``m / mean(m)``, the mean over one victim."""
        if masks is None:
            return None
        scaled = []
        for mask, site in zip(masks, self.sites, strict=True):
            mean = mask.flatten(1).mean(1).clamp(min=SMALLEST_MEAN)
            scaled.append(mask * per_victim((1 - site.rate) / mean, mask))
        return scaled
