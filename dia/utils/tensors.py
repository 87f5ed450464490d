"""Small helpers for tensors: one value per victim, and tensors inside lists and dataclasses."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

Value = TypeVar("Value")


def per_victim(values: Tensor, like: Tensor) -> Tensor:
    """One value per victim (V,) as (V, 1, ..., 1), which broadcasts against ``like`` (V, ...)."""
    return values.view(-1, *[1] * (like.dim() - 1))


def flat(parts: list[Tensor]) -> Tensor:
    """The entries of tensors (V, ...) each, side by side: (V, D); a new tensor."""
    return torch.cat([part.flatten(1) for part in parts], 1)


def map_tensors(value: Value, change: Callable[[Tensor], Tensor]) -> Value:
    """A copy of ``value`` in which ``change`` was applied to every tensor.

    Args:
        value: A tensor, a list, dict or dataclass instance that holds such values, or anything else, which stays as it
            is.
        change: From a tensor to its replacement.
    """
    changed: Any = value
    if isinstance(value, Tensor):
        changed = change(value)
    elif isinstance(value, list):
        changed = [map_tensors(item, change) for item in value]
    elif isinstance(value, dict):
        changed = {key: map_tensors(item, change) for key, item in value.items()}
    elif is_dataclass(value) and not isinstance(value, type):
        changed = type(value)(**{f.name: map_tensors(getattr(value, f.name), change) for f in fields(value)})
    result: Value = changed
    return result


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of a nest as of :func:`map_tensors`, in its order."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(value, note)
    return found


def replace_tensors(value: Value, tensors: Iterable[Tensor]) -> Value:
    """A copy of ``value`` with these ``tensors``, in the order of :func:`tensors_in`."""
    following = iter(tensors)
    return map_tensors(value, lambda tensor: next(following))


def pack_tensors(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """JSON values that describe ``value``, a nest of lists, dataclasses, tensors and JSON values.

    Args:
        value: What to describe.
        name: Begins the names of its arrays.
        arrays: Receives the tensors, as arrays on the CPU.
    """
    if isinstance(value, Tensor):
        arrays[name] = value.cpu().numpy()
        return name
    if isinstance(value, list):
        return [pack_tensors(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
    if is_dataclass(value):
        items = {f.name: getattr(value, f.name) for f in fields(value)}
        return {key: pack_tensors(item, f"{name}.{key}", arrays) for key, item in items.items()}
    return value


def unpack_tensors(kind: Any, packed: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value of type ``kind`` that :func:`pack_tensors` described."""
    if isinstance(kind, UnionType):  # something or None
        return packed if packed is None else unpack_tensors(get_args(kind)[0], packed, arrays)
    if kind is Tensor:
        return torch.from_numpy(arrays[packed])
    if get_origin(kind) is list:
        return [unpack_tensors(get_args(kind)[0], item, arrays) for item in packed]
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{name: unpack_tensors(hints[name], item, arrays) for name, item in packed.items()})
    return packed
