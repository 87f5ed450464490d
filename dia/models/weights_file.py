"""Weights that a user has stored, as the state of a model."""

from pathlib import Path

import torch
from torch import Tensor, nn

from dia.errors import ModelError
from dia.utils.tensor_file import read_tensors

SHOWN = 5
"""Names that a message lists at most."""


def load_weights(model: nn.Module, name: str, path: Path) -> None:
    """Give a freshly built model the weights of a file, without rounding any.

    The file has every parameter and buffer of the state dict and no other; of tied ones it may have one name alone.
    Where it has float64 values that float32 cannot hold, the whole model becomes float64.

    Args:
        model: The model; changed in place.
        name: What errors call it.
        path: A file that :func:`dia.utils.tensor_file.read_tensors` reads.

    Raises:
        ModelError: The file cannot be read, has no names, or its names, shapes or values are not those of the model.
    """
    where = f"weights {path}"
    stored = read_tensors(path, what="a file of weights", error=ModelError)
    if isinstance(stored, list):
        raise ModelError(f"{where}: holds tensors without names; save them by the names of the state dict")
    state = _tensors(model)
    filled = {id(state[key]) for key in stored.keys() & state.keys()}
    missing = [key for key, value in state.items() if key not in stored and id(value) not in filled]
    foreign = [key for key in stored if key not in state]
    if missing or foreign:
        raise ModelError(f"{where} do not fit model '{name}': {_difference(missing, foreign)}")
    for key, value in stored.items():
        if value.shape != state[key].shape:
            raise ModelError(
                f"{where} do not fit model '{name}': '{key}' has shape {tuple(value.shape)}, the model's "
                f"{tuple(state[key].shape)}"
            )
        if value.is_floating_point() != state[key].is_floating_point() or value.is_complex():
            raise ModelError(f"{where}: '{key}' holds {value.dtype}, the model's {state[key].dtype}")
        if not torch.isfinite(value).all():
            raise ModelError(f"{where}: '{key}' is not finite")
    wide = [key for key, value in stored.items() if value.dtype == torch.float64]
    if any(state[key].dtype == torch.float32 and _is_rounded(stored[key], state[key]) for key in wide):
        model.double()
    state = _tensors(model)
    with torch.no_grad():
        for key, value in stored.items():
            state[key].copy_(value)
    if different := [
        key for key, value in stored.items() if not torch.equal(state[key].to(value.dtype), value)
    ]:
        key = different[0]
        raise ModelError(
            f"{where}: '{key}' ({stored[key].dtype}) has values that the model cannot hold: it has {state[key].dtype}, "
            "or one parameter under two names to which the file gives two values"
        )


def _difference(missing: list[str], foreign: list[str]) -> str:
    parts = []
    if missing:
        parts.append(f"the file lacks {_listed(missing)}")
    if foreign:
        parts.append(f"the model has no {_listed(foreign)}")
    if foreign and all(key.startswith(("module.", "_orig_mod.")) for key in foreign):
        parts.append("save the state dict of the module inside (.module), without the prefix of its wrapper")
    return "; ".join(parts)


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(map(repr, keys[:SHOWN])) + more


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by the names of the state dict."""
    return {
        key: value for key, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)
    }


def _is_rounded(value: Tensor, target: Tensor) -> bool:
    """Tell whether a value would not come through a cast to the type of its place."""
    return not torch.equal(value.to(target.dtype).to(value.dtype), value)
