"""Gaussian noise on every entry (Abadi et al. 2016): with clipping, the mechanism of DP-SGD."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dia.utils.randomness import normal


def add_noise(gradient: dict[str, Tensor], std: float, rngs: Sequence[torch.Generator]) -> dict[str, Tensor]:
    """Add independent normal noise, each victim's from its own generator.

    Args:
        gradient: By parameter, (V, *shape).
        std: Standard deviation.
        rngs: One generator per victim, on the CPU.
    """
    noisy = {}
    for name, value in gradient.items():
        draws = torch.stack([normal(tuple(value.shape[1:]), rng, value.dtype) for rng in rngs])
        noisy[name] = value + std * draws.to(value.device)
    return noisy
