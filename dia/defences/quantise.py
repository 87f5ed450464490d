"""Quantisation: few levels, one scale per parameter. Zeros (pruned entries) stay zeros."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dia.utils.tensors import per_victim


def quantise(
    gradient: dict[str, Tensor], scheme: str, rngs: Sequence[torch.Generator] = ()
) -> dict[str, Tensor]:
    """Round every entry.

    Args:
        gradient: By parameter, (V, *shape).
        scheme: A key of :data:`SCHEMES`.
        rngs: Unused.
    """
    return {name: SCHEMES[scheme](value) for name, value in gradient.items()}


def int8(value: Tensor) -> Tensor:
    """Round to the nearest of 255 levels, symmetric around zero, the largest magnitude being level 127."""
    step = per_victim(value.abs().flatten(1).amax(1), value) / 127
    return (value / step.where(step > 0, 1)).round() * step


def sign(value: Tensor) -> Tensor:
    """Signs times the mean magnitude of the entries that are not zero (Karimireddy et al. 2019, scaled sign)."""
    flat = value.flatten(1)
    magnitude = flat.abs().sum(1) / (flat != 0).sum(1).clamp(min=1)
    return value.sign() * per_victim(magnitude, value)


SCHEMES = {"int8": int8, "sign": sign}
"""The values of the setting ``defence_quantisation`` besides ``none``; each takes one parameter's (V, *shape)."""
