"""Quantisation: what arrives has few levels, one scale a parameter. Zeros (pruned entries) stay zeros."""

from torch import Tensor


def int8(gradient: dict[str, Tensor]) -> dict[str, Tensor]:
    """Round to the nearest of 255 levels, symmetric around zero, the largest magnitude being level 127."""
    quantised = {}
    for name, value in gradient.items():
        step = _by_victim(value.abs().flatten(1).amax(1), value) / 127
        quantised[name] = (value / step.where(step > 0, 1)).round() * step
    return quantised


def sign(gradient: dict[str, Tensor]) -> dict[str, Tensor]:
    """Signs times the mean magnitude of the entries that are not zero (Karimireddy et al. 2019, scaled sign)."""
    quantised = {}
    for name, value in gradient.items():
        flat = value.flatten(1)
        magnitude = flat.abs().sum(1) / (flat != 0).sum(1).clamp(min=1)
        quantised[name] = value.sign() * _by_victim(magnitude, value)
    return quantised


def _by_victim(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))
