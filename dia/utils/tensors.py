"""Small helpers for tensors: one value per victim, and tensors inside lists and dataclasses."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from torch import Tensor

Value = TypeVar("Value")


def per_victim(values: Tensor, like: Tensor) -> Tensor:
    """One value per victim (V,) as (V, 1, ..., 1), which broadcasts against ``like`` (V, ...)."""
    return values.view(-1, *[1] * (like.dim() - 1))


def map_tensors(value: Value, change: Callable[[Tensor], Tensor]) -> Value:
    """A copy of ``value`` in which ``change`` was applied to every tensor.

    Args:
        value: A tensor, a list or dataclass instance that holds such values, or anything else, which stays as it is.
        change: From a tensor to its replacement.
    """
    changed: Any = value
    if isinstance(value, Tensor):
        changed = change(value)
    elif isinstance(value, list):
        changed = [map_tensors(item, change) for item in value]
    elif is_dataclass(value) and not isinstance(value, type):
        changed = type(value)(**{f.name: map_tensors(getattr(value, f.name), change) for f in fields(value)})
    result: Value = changed
    return result
