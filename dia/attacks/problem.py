"""What an attack is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from dia.client import ClientGradient
from dia.matching.engine import Engine
from dia.settings import Settings

Start = tuple[Tensor, list[Tensor]]
"""Where an attack starts: images (V, N, C, H, W), normalised, and masks, per site (V, N, *site.shape)."""


def _no_further_starts(restart: int, victim_ids: Sequence[str]) -> Start:
    raise ValueError(f"start {restart} was asked for, and there is only the first")


@dataclass(frozen=True)
class Problem:
    """V victims of N images of one cell, as the server sees them.

    Attributes:
        model: The model that the server sent out.
        received: The clients' gradients.
        labels: (V, N) class indices, as the attacker knows or infers them.
        x0: (V, N, C, H, W) starting images, normalised space.
        low, high: (C, 1, 1) the valid pixel box in normalised space.
        client_masks: The clients' true masks, per site (V, N, *site.shape). For well-informed attacks alone.
        initial_masks: Where a mask-optimising attack starts, likewise; empty without dropout.
        victim_ids: Ids of the V victims.
        settings: The cell's settings.
        further_starts: Draws start ``restart`` (from 1) of victims by their ids.
    """

    model: Engine
    received: ClientGradient
    labels: Tensor
    x0: Tensor
    low: Tensor
    high: Tensor
    client_masks: list[Tensor]
    initial_masks: list[Tensor]
    victim_ids: list[str]
    settings: Settings = field(repr=False)
    further_starts: Callable[[int, Sequence[str]], Start] = field(default=_no_further_starts, repr=False)

    def __len__(self) -> int:
        return len(self.victim_ids)

    @property
    def rates(self) -> list[float]:
        """The dropout rate of every site, as the attacker assumes it."""
        return [site.rate for site in self.model.sites]

    @property
    def mask_penalty(self) -> float:
        """Weight of the mask penalty; 0 where the rate is unknown, and so what share a mask should drop."""
        return 0.0 if self.settings.attacker_dropout_rate == "unknown" else self.settings.mask_penalty

    def start(self, restart: int) -> Start:
        """Where start ``restart``, from 0, begins."""
        if restart == 0:
            return self.x0, self.initial_masks
        return self.further_starts(restart, self.victim_ids)

    def select(self, victims: Tensor) -> "Problem":
        """The same problem for some of the victims ((K,) indices)."""
        return replace(
            self,
            received=self.received.select(victims),
            labels=self.labels[victims],
            x0=self.x0[victims],
            client_masks=[mask[victims] for mask in self.client_masks],
            initial_masks=[mask[victims] for mask in self.initial_masks],
            victim_ids=[self.victim_ids[int(v)] for v in victims],
        )


def pixel_box(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Images of [0, 1] in normalised space: ((0 - mean) / std, (1 - mean) / std), each (C, 1, 1)."""
    return ((0 - mean) / std)[:, None, None], ((1 - mean) / std)[:, None, None]
