"""The input of an attack."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from dia.federated.update import ClientUpdate
from dia.gradients.engine import GradientEngine
from dia.models.parameters import reference_parameter
from dia.settings.scenario import Settings


class Initialisation(Protocol):
    """Start ``restart`` (from 0) of victims by their ids, on the CPU; the same whenever it is asked for."""

    def images(self, restart: int, victim_ids: Sequence[str]) -> Tensor:
        """(V, N, C, H, W), normalised."""

    def masks(self, restart: int, victim_ids: Sequence[str]) -> list[Tensor]:
        """In [0, 1], per site (V, N, *site.shape); empty without dropout."""


@dataclass(frozen=True)
class Problem:
    """V victims of N images of one cell, as the server sees them.

    What belongs to all victims of a cell lies on the CPU, and a chunk takes its share to the device (:meth:`placed`):
    a device holds one chunk, however many victims there are.

    Attributes:
        model: The model that the server sent out, on the device that computes.
        received: The clients' gradients.
        labels: (V, N) class indices, as the attacker knows or infers them.
        shape: (C, H, W) of an image.
        low, high: (C, 1, 1) the valid pixel box in normalised space, on the device.
        client_masks: The clients' true masks, per site (V, N, *site.shape) bool, on the CPU even when placed. For
            well-informed attacks alone.
        starts: The images and masks that attacks start from.
        victim_ids: Ids of the V victims.
        settings: The cell's settings.
    """

    model: GradientEngine
    received: ClientUpdate
    labels: Tensor
    shape: tuple[int, int, int]
    low: Tensor
    high: Tensor
    client_masks: Sequence[Tensor]
    initialisation: Initialisation = field(repr=False)
    victim_ids: Sequence[str]
    settings: Settings = field(repr=False)

    def __len__(self) -> int:
        return len(self.victim_ids)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return reference_parameter(self.model.model).device

    @property
    def dtype(self) -> torch.dtype:
        """The model's precision."""
        return reference_parameter(self.model.model).dtype

    @property
    def rates(self) -> list[float]:
        """The dropout rate of every site, as the attacker assumes it."""
        return [site.rate for site in self.model.sites]

    @property
    def mask_penalty_weight(self) -> float:
        """Weight of the mask penalty; 0 where the rate is unknown, and so the share that a mask should drop."""
        return 0.0 if self.settings.attacker_dropout_rate == "unknown" else self.settings.mask_penalty_weight

    def images(self, restart: int = 0) -> Tensor:
        """(V, N, C, H, W) the images of start ``restart``, on the CPU."""
        return self.initialisation.images(restart, self.victim_ids)

    def masks(self, restart: int = 0) -> list[Tensor]:
        """The masks of start ``restart``, per site (V, N, *site.shape), on the CPU."""
        return self.initialisation.masks(restart, self.victim_ids)

    def gradient(self, victim: int, name: str) -> Tensor:
        """The update of a parameter that one victim sent, in full and on the device."""
        return self.received.pieces[name].select(torch.tensor([victim])).to(self.device).dense()[0]

    def select(self, victims: Tensor) -> "Problem":
        """The same problem for some of the victims ((K,) indices), where it lies."""
        return replace(
            self,
            received=self.received.select(victims.to(self.received.norm.device)),
            labels=self.labels[victims.to(self.labels.device)],
            client_masks=[mask[victims.cpu()] for mask in self.client_masks],
            victim_ids=[self.victim_ids[v] for v in victims.tolist()],
        )

    def placed(self) -> "Problem":
        """The same problem with what every iteration reads on the device."""
        return replace(self, received=self.received.to(self.device), labels=self.labels.to(self.device))
