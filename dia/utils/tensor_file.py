"""Tensors from the files that frameworks write; a pickle is never run.

``.safetensors``; ``.npz`` with names, or with positional arrays ``arr_0``, ``arr_1``, ... (Flower's recipe); ``.pt``
and ``.pth``, weights only.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dia.errors import DiaError
from dia.utils.npz import read_npz
from dia.utils.paths import TENSOR_SUFFIXES

STATE_KEYS = (
    "state_dict",
    "model_state_dict",
    "model",
    "params",
    "parameters",
    "weights",
    "gradients",
    "model_params",
)
"""Keys under which frameworks put the tensors in a dictionary of other things."""


def read_tensors(path: str | Path, *, what: str, error: type[DiaError]) -> dict[str, Tensor] | list[Tensor]:
    """Read all tensors of a file.

    Args:
        path: A file with one of :data:`~dia.utils.paths.TENSOR_SUFFIXES`.
        what: What the file is to the user, for error messages, such as "an update".
        error: The class of the error to raise.

    Returns:
        Tensors by name; in order where the file has positions only.

    Raises:
        DiaError: As ``error``: the file is missing, damaged, of another kind, pickled, or holds something else than
            tensors.
    """
    try:
        return _read(Path(path), what)
    except _UnreadableError as cause:
        raise error(str(cause)) from cause.__cause__


class _UnreadableError(DiaError):
    """The file cannot be read; the message says why."""


def _read(path: Path, what: str) -> dict[str, Tensor] | list[Tensor]:
    if path.suffix not in TENSOR_SUFFIXES:
        raise _UnreadableError(
            f"{path}: unknown kind of file '{path.suffix}'; {what} is one of {', '.join(TENSOR_SUFFIXES)}"
        )
    if not path.is_file():
        raise _UnreadableError(f"{path}: no such file")
    if not path.stat().st_size:
        raise _UnreadableError(f"{path}: the file is empty")
    tensors: dict[str, Tensor] | list[Tensor]
    if path.suffix == ".npz":
        arrays = read_npz(path, None, what=what.split()[-1], error=_UnreadableError)
        tensors = {name: _from_array(array, f"{path}: {name}") for name, array in arrays.items()}
        if tensors and all(re.fullmatch(r"arr_\d+", name) for name in tensors):
            tensors = [tensors[f"arr_{number}"] for number in _positions(tensors, path)]
    else:
        tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not tensors:
        raise _UnreadableError(f"{path}: holds no tensor")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, json.JSONDecodeError, OSError, ValueError) as error:
        raise _UnreadableError(f"{path}: truncated, damaged or not a safetensors file ({error})") from error


def _read_torch(path: Path) -> dict[str, Tensor] | list[Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError, KeyError, ...
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise _UnreadableError(
                f"{path}: holds Python objects beside tensors, which only running its pickle would bring back; that is "
                "never done. Save the state_dict() alone, best with safetensors"
            ) from error
        raise _UnreadableError(
            f"{path}: truncated, damaged or not written by torch.save ({type(error).__name__})"
        ) from error
    if isinstance(loaded, dict):
        for key in STATE_KEYS:
            if isinstance(loaded.get(key), dict):
                loaded = loaded[key]
                break
    if not isinstance(loaded, dict | list | tuple):
        raise _UnreadableError(
            f"{path}: holds a {type(loaded).__name__}, not tensors by name or a list of tensors"
        )
    named = (
        dict(loaded) if isinstance(loaded, dict) else {f"tensor {i}": value for i, value in enumerate(loaded)}
    )
    other = [name for name, value in named.items() if not isinstance(value, Tensor)]
    if other:
        raise _UnreadableError(
            f"{path}: '{other[0]}' is a {type(named[other[0]]).__name__}, not a tensor; save the state_dict() alone"
        )
    return {str(name): value for name, value in loaded.items()} if isinstance(loaded, dict) else list(loaded)


def _positions(tensors: dict[str, Tensor], path: Path) -> range:
    """The numbers of positional arrays, none missing."""
    missing = [number for number in range(len(tensors)) if f"arr_{number}" not in tensors]
    if missing:
        raise _UnreadableError(
            f"{path}: positional arrays without arr_{missing[0]}; the file is not complete"
        )
    return range(len(tensors))


def _from_array(array: Any, what: str) -> Tensor:
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise _UnreadableError(f"{what} holds {array.dtype}, not numbers") from error
