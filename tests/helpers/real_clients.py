"""A real client in plain torch, as a user would write it: nothing of dia takes part in what it sends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHAPE, CLASSES = (1, 12, 12), 10
MEAN, STD = 0.3, 0.4
NORMALISATION = {"mean": MEAN, "std": STD}


def network(p: float = 0.5, bias: bool = True) -> nn.Module:
    """A small classifier with dropout, in train mode; the same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(144, 64, bias=bias),
            nn.GELU(),
            nn.Dropout(p),
            nn.Linear(64, CLASSES, bias=bias),
        )


def pictures(count: int = 1) -> Tensor:
    """Smooth images (count, 1, 12, 12) in [0, 1] that reach both ends."""
    rng = torch.Generator().manual_seed(7)
    coarse = torch.rand(count, 1, 4, 4, generator=rng)
    fine = F.interpolate(coarse, SHAPE[1:], mode="bicubic")
    low, high = fine.amin((1, 2, 3), keepdim=True), fine.amax((1, 2, 3), keepdim=True)
    return (fine - low) / (high - low)


@dataclass
class Client:
    """One client after its local training.

    Attributes:
        model: As the server sent it.
        images, labels: Its private data; images in [0, 1].
        gradient: Of the mean cross-entropy at ``model``, by parameter name.
        after: The state dict after local training.
        before: That of ``model``.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    gradient: dict[str, Tensor]
    before: dict[str, Tensor]
    after: dict[str, Tensor]

    @property
    def difference(self) -> dict[str, Tensor]:
        """After minus before."""
        return {name: self.after[name] - self.before[name] for name in self.gradient}


def train_client(
    model: nn.Module | None = None,
    *,
    images: int = 1,
    labels: list[int] | None = None,
    lr: float = 0.1,
    epochs: int = 1,
    batch_size: int | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
    loss: Callable[..., Tensor] = F.cross_entropy,
    seed: int = 3,
    **options: Any,
) -> Client:
    """Train a copy of ``model`` as clients do, with torch's own dropout and optimiser."""
    model = network() if model is None else model
    pixels = pictures(images)
    target = torch.tensor(labels or [(3 * n + 2) % CLASSES for n in range(images)])
    x = (pixels - MEAN) / STD
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradient: dict[str, Tensor] = {}
    optim = optimizer(model.parameters(), lr=lr, **options)
    size = batch_size or images
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(epochs):
            for first in range(0, images, size):
                optim.zero_grad()
                loss(model(x[first : first + size]), target[first : first + size]).backward()
                gradient = gradient or {
                    n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
                }
                optim.step()
    after = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(before)
    model.zero_grad()
    return Client(model, pixels, target, gradient, before, after)
