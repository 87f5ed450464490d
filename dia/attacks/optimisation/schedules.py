"""Learning rate, early stop and best iterate of many victims at once, as tensors.

Each victim's row goes through exactly what ``torch.optim.lr_scheduler.ReduceLROnPlateau`` and a plain loop would do.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RELATIVE_THRESHOLD = 1e-4
SMALLEST_CHANGE = 1e-8


@dataclass
class Plateau:
    """ReduceLROnPlateau (mode ``min``, relative threshold 1e-4, no cooldown), one row per victim.

    Attributes:
        lr: (V,) float64 learning rates.
        best: (V,) best losses so far.
        bad_steps: (V,) steps since then.
    """

    lr: Tensor
    best: Tensor
    bad_steps: Tensor

    @classmethod
    def start(cls, victims: int, lr: float, device: torch.device) -> "Plateau":
        full = torch.full((victims,), lr, dtype=torch.float64, device=device)
        return cls(full, torch.full_like(full, torch.inf), torch.zeros_like(full, dtype=torch.int64))

    def step(self, loss: Tensor, factor: float, patience: int) -> None:
        """Note the (V,) losses of one iteration; a victim's rate is multiplied by ``factor`` when its patience ends."""
        loss = loss.to(self.best.dtype)
        better = loss < self.best * (1 - RELATIVE_THRESHOLD)
        self.best = torch.where(better, loss, self.best)
        self.bad_steps = torch.where(better, 0, self.bad_steps + 1)
        over = self.bad_steps > patience
        reduced = self.lr * factor
        self.lr = torch.where(over & (self.lr - reduced > SMALLEST_CHANGE), reduced, self.lr)
        self.bad_steps = torch.where(over, 0, self.bad_steps)


def cosine(done: float, first: float, last: float) -> float:
    """The learning rate when the share ``done`` in [0, 1] of the iterations is done: half a cosine, first to last."""
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2


def geometric_decay(done: float, first: float) -> float:
    """A factor that falls geometrically from ``first`` to 1, which it is once the share ``done`` is 1 or more."""
    return float(first ** max(1 - done, 0))


@dataclass
class BestIterate:
    """The best loss of each victim, when it was reached, and for how long it has stood.

    Attributes:
        loss: (V,) best total losses.
        iteration: (V,) the iterations (from 0) that had them.
        waited: (V,) iterations since.
    """

    loss: Tensor
    iteration: Tensor
    waited: Tensor

    @classmethod
    def start(cls, victims: int, device: torch.device) -> "BestIterate":
        counts = torch.zeros(victims, dtype=torch.int64, device=device)
        return cls(
            torch.full((victims,), torch.inf, dtype=torch.float64, device=device), counts, counts.clone()
        )

    def step(self, loss: Tensor, iteration: int, active: Tensor) -> Tensor:
        """Note the losses of one iteration for the ``active`` victims; returns (V,) bool: which improved."""
        loss = loss.to(self.loss.dtype)
        better = (loss < self.loss) & active
        self.loss = torch.where(better, loss, self.loss)
        self.iteration = torch.where(better, iteration, self.iteration)
        self.waited = torch.where(better, 0, self.waited + 1)
        return better
