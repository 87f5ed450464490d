"""How an attack searches for masks: where they start, and which variables stand for them.

A mask entry is relaxed from {0, 1} to [0, 1]. The variables are the entries themselves, clipped after every step (the
paper's way), or their logits, which need no clipping (ours).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dia.models.dropout import Site
from dia.settings.optimisation import SearchSettings
from dia.utils.randomness import bernoulli, generator

MARGIN = 0.05
"""How far from 0 and 1 a relaxed mask starts: a logit is finite, and a saturated one would hardly move."""


class Parametrisation(Protocol):
    """Variables that stand for masks."""

    @property
    def threshold(self) -> float:
        """The value of a variable from which its entry counts as kept."""

    def variables(self, masks: Tensor) -> Tensor:
        """Variables for masks in [0, 1]; a new tensor."""

    def masks(self, variables: Tensor) -> Tensor:
        """The masks, in [0, 1]."""

    def chain(self, gradient: Tensor, masks: Tensor) -> Tensor:
        """From the gradient with respect to the masks to the one with respect to the variables."""

    @property
    def box(self) -> tuple[float, float]:
        """The least and the largest value of a variable."""


@dataclass(frozen=True)
class Clipped:
    """The variables are the masks, clipped to [0, 1] (Scheliga et al. 2022)."""

    threshold: float = 0.5

    def variables(self, masks: Tensor) -> Tensor:
        return masks.clone()

    def masks(self, variables: Tensor) -> Tensor:
        return variables

    def chain(self, gradient: Tensor, masks: Tensor) -> Tensor:
        return gradient

    @property
    def box(self) -> tuple[float, float]:
        return 0.0, 1.0


@dataclass(frozen=True)
class Sigmoid:
    """The variables are logits: m = 1 / (1 + exp(-s z)), with dm/dz = s m (1 - m).

    Attributes:
        slope: s; a larger one hardens the masks (a relaxed Bernoulli variable of temperature 1 / s, without its noise).
    """

    slope: float = 1.0
    threshold: float = 0.0

    def variables(self, masks: Tensor) -> Tensor:
        return torch.logit(masks, eps=MARGIN) / self.slope

    def masks(self, variables: Tensor) -> Tensor:
        return (self.slope * variables).sigmoid()

    def chain(self, gradient: Tensor, masks: Tensor) -> Tensor:
        return self.slope * gradient * masks * (1 - masks)

    @property
    def box(self) -> tuple[float, float]:
        return -math.inf, math.inf


def parametrisation(settings: SearchSettings, done: float) -> Parametrisation:
    """The variables that ``settings`` ask for, when the share ``done`` in [0, 1] of the iterations is done."""
    if settings.mask_parametrisation == "sigmoid":
        return Sigmoid(slope=settings.mask_annealing**done)
    return Clipped()


def first_masks(
    kind: str,
    sites: Sequence[Site],
    rates: Sequence[float],
    batch_size: int,
    rngs: Sequence[torch.Generator],
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Where masks start, per site (V, N, *site.shape) on the CPU; drawn in float64 whatever ``dtype`` they come in.

    Args:
        kind: ``bernoulli``: a draw of masks as the client makes them; ``ones``: nothing dropped; ``p``: every entry at
            its probability of being kept, 1 - p; ``uniform``: anywhere in [0, 1].
        sites: Dropout sites in module order.
        rates: The dropout rate of every site, as far as the attacker knows it.
        batch_size: Images N of a victim.
        rngs: One generator a victim.
    """

    def one(shape: tuple[int, ...], rate: float, rng: torch.Generator) -> Tensor:
        match kind:
            case "bernoulli":
                return bernoulli(shape, 1 - rate, rng, dtype)
            case "uniform":
                return torch.rand(shape, generator=rng, dtype=torch.float64).to(dtype)
            case "ones" | "p":
                return torch.full(shape, 1.0 if kind == "ones" else 1 - rate, dtype=dtype)
        raise ValueError(f"unknown mask initialisation {kind!r}")

    return [
        torch.stack([one(site.mask_shape(batch_size), rate, rng) for rng in rngs])
        for site, rate in zip(sites, rates, strict=True)
    ]


def start_generators(
    seed: int, victim_ids: Sequence[str], purpose: str, restart: int
) -> list[torch.Generator]:
    """One generator a victim for the draws of one start; the first start is the same however many follow."""
    which = (purpose,) if restart == 0 else (purpose, restart)
    return [generator(seed, victim, *which) for victim in victim_ids]
