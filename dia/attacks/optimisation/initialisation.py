"""Where attacks start: images and masks, drawn when they are needed and never held for all victims."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dia.attacks.optimisation.mask_variables import first_masks, start_generators
from dia.models.dropout import Site
from dia.utils.randomness import normal


class Starts(Protocol):
    """Start ``restart`` (from 0) of victims by their ids, on the CPU; the same whenever it is asked for."""

    def images(self, restart: int, victim_ids: Sequence[str]) -> Tensor:
        """(V, N, C, H, W), normalised."""

    def masks(self, restart: int, victim_ids: Sequence[str]) -> list[Tensor]:
        """In [0, 1], per site (V, N, *site.shape); empty without dropout."""


@dataclass(frozen=True)
class DrawnStarts:
    """Random starts, of each victim from its own generators.

    Attributes:
        seed: The cell's seed.
        shape: (N, C, H, W) of a victim's images.
        sites: Dropout sites as the attacker believes them.
        mask_init: See :func:`dia.attacks.optimisation.mask_variables.first_masks`.
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
        """As ``mask_init`` says."""
        rngs = start_generators(self.seed, victim_ids, "initial_masks", restart)
        rates = [site.rate for site in self.sites]
        return first_masks(self.mask_init, self.sites, rates, self.shape[0], rngs, self.dtype)


@dataclass(frozen=True)
class GivenStarts:
    """One start that is known beforehand, as that of a golden run.

    Attributes:
        x: (V, N, C, H, W).
        mask: Per site (V, N, *site.shape).
        victim_ids: Whose they are.
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
