"""The images and masks that attacks start from, drawn when they are needed and never held for all victims."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dia.models.dropout import Site
from dia.utils.randomness import bernoulli, generator, normal


@dataclass(frozen=True)
class RandomInitialisation:
    """Random starts, of each victim from its own generators.

    Attributes:
        seed: The cell's seed.
        shape: (N, C, H, W) of a victim's images.
        sites: Dropout sites as the attacker assumes them.
        mask_init: See :func:`dia.attacks.optimisation.initialisation.first_masks`.
        dtype: Of the tensors drawn.
    """

    seed: int
    shape: tuple[int, int, int, int]
    sites: Sequence[Site]
    mask_init: str
    dtype: torch.dtype

    def images(self, restart: int, victim_ids: Sequence[str]) -> Tensor:
        """Standard normal."""
        rngs = start_generators(self.seed, victim_ids, "x0", restart)
        return torch.stack([normal(self.shape, rng, self.dtype) for rng in rngs])

    def masks(self, restart: int, victim_ids: Sequence[str]) -> list[Tensor]:
        """Starting masks by ``mask_init``."""
        rngs = start_generators(self.seed, victim_ids, "initial_masks", restart)
        rates = [site.rate for site in self.sites]
        return first_masks(self.mask_init, self.sites, rates, self.shape[0], rngs, self.dtype)


@dataclass(frozen=True)
class FixedInitialisation:
    """One start that is given, as that of a golden run.

    Attributes:
        x: (V, N, C, H, W).
        mask: Per site (V, N, *site.shape).
        victim_ids: The victims that they belong to.
    """

    x: Tensor
    mask: Sequence[Tensor]
    victim_ids: Sequence[str]

    def images(self, restart: int, victim_ids: Sequence[str]) -> Tensor:
        """The images given."""
        return self.x[self._rows(restart, victim_ids)]

    def masks(self, restart: int, victim_ids: Sequence[str]) -> list[Tensor]:
        """The masks given."""
        rows = self._rows(restart, victim_ids)
        return [mask[rows] for mask in self.mask]

    def _rows(self, restart: int, victim_ids: Sequence[str]) -> list[int]:
        if restart:
            raise ValueError(f"start {restart} was asked for, and there is only the first")
        return [self.victim_ids.index(name) for name in victim_ids]


MARGIN = 0.05
"""Distance from 0 and 1 at which a relaxed mask starts: a logit is finite, and a saturated one would hardly move."""


def first_masks(
    kind: str,
    sites: Sequence[Site],
    rates: Sequence[float],
    batch_size: int,
    rngs: Sequence[torch.Generator],
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """The first masks, per site (V, N, *site.shape) on the CPU; drawn in float64 and returned in ``dtype``.

    Args:
        kind: ``bernoulli``: a draw of masks as the client makes them; ``ones``: nothing dropped; ``mean``: every entry
            at its probability of being kept, 1 - p; ``uniform``: anywhere in [0, 1].
        sites: Dropout sites in module order.
        rates: The dropout rate of every site, as far as the attacker knows it.
        batch_size: Images N of a victim.
        rngs: One generator per victim.
    """

    def one(shape: tuple[int, ...], rate: float, rng: torch.Generator) -> Tensor:
        match kind:
            case "bernoulli":
                return bernoulli(shape, 1 - rate, rng, dtype)
            case "uniform":
                return torch.rand(shape, generator=rng, dtype=torch.float64).to(dtype)
            case "ones" | "mean":
                return torch.full(shape, 1.0 if kind == "ones" else 1 - rate, dtype=dtype)
        raise ValueError(f"unknown mask initialisation {kind!r}")

    return [
        torch.stack([one(site.mask_shape(batch_size), rate, rng) for rng in rngs])
        for site, rate in zip(sites, rates, strict=True)
    ]


def start_generators(
    seed: int, victim_ids: Sequence[str], purpose: str, restart: int
) -> list[torch.Generator]:
    """One generator per victim for the draws of one start; the first start is the same however many follow."""
    which = (purpose,) if restart == 0 else (purpose, restart)
    return [generator(seed, victim, *which) for victim in victim_ids]
