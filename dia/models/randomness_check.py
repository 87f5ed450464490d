"""Randomness that replaying dropout modules would miss: dropout inside functions, fused kernels and other modules.

A model is run once in train mode with its replayable dropout switched off; whatever still draws random numbers is
found by torch's own mark on its operators, so nothing depends on how the dropout is called.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from dia.errors import ModelError
from dia.models.dropout import dropout_disabled, dropout_sites

_NOT_THE_MODELS = (Path(torch.__file__).parent, Path(__file__).parents[1])
"""Folders whose code is never the user's own."""


def check_no_hidden_randomness(
    model: nn.Module, name: str, shape: tuple[int, int, int], num_classes: int
) -> None:
    """Run ``model``, made replayable and on the CPU, on two blank images; refuse randomness and wrong outputs.

    Args:
        model: It is left as it was.
        name: What errors call it.
        shape: (C, H, W) of one image.
        num_classes: Outputs that it must have.

    Raises:
        ModelError: It draws random numbers in train mode beside its dropout modules (names the module and, where
            there is one, the user's line), cannot take the images, or returns something else than logits.
    """
    buffers = {
        key: value.clone() for key, value in model.named_buffers()
    }  # running statistics stay untouched
    try:
        with (
            torch.no_grad(),
            _named(model) as inside,
            _RandomOpDetector(name, inside),
            dropout_disabled(model),
        ):
            logits = functional_call(model, buffers, (torch.zeros(2, *shape),))
        dropout_sites(model, torch.zeros(1, *shape))
    except ModelError:
        raise
    except Exception as error:  # whatever the user's forward raises
        channels, height, width = shape
        raise ModelError(
            f"model '{name}' cannot take images of {channels} channel(s) and {height} x {width} pixels: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, num_classes):
        got = (
            f"a tensor of shape {tuple(logits.shape)}"
            if isinstance(logits, torch.Tensor)
            else type(logits).__name__
        )
        raise ModelError(
            f"model '{name}' must return logits (images, {num_classes}) and returned {got} for 2 images"
        )


class _RandomOpDetector(TorchDispatchMode):
    """Refuses every operator that draws random numbers."""

    def __init__(self, model: str, inside: list[str]) -> None:
        super().__init__()
        self.model, self.inside = model, inside

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and _is_active_dropout(func, args, kwargs or {}):
            raise ModelError(
                f"model '{self.model}' draws random numbers where no dropout mask can be replayed: "
                f"{', '.join(filter(None, [self._module(), _users_line()]))} ({func}). "
                "Use nn.Dropout modules there instead of functional, fused or built-in dropout, or set its rate to 0"
            )
        return func(*args, **(kwargs or {}))

    def _module(self) -> str:
        return f"in module {self.inside[-1]}" if self.inside else ""


def _is_active_dropout(func: Any, args: Any, kwargs: Any) -> bool:
    """False for an operator that could draw random numbers, fused attention say, but whose dropout rate is 0."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.name == "dropout_p":
            value = args[place] if place < len(args) else kwargs.get(argument.name, argument.default_value)
            return bool(value)
    return True


def _users_line() -> str:
    """The innermost line on the stack, up to the call of the model, that is neither torch's nor this package's."""
    for frame in reversed(traceback.extract_stack()):
        if frame.name == check_no_hidden_randomness.__name__:
            break
        if not any(Path(frame.filename).is_relative_to(folder) for folder in _NOT_THE_MODELS):
            return f"at {frame.filename}, line {frame.lineno}"
    return ""


@contextmanager
def _named(model: nn.Module) -> Iterator[list[str]]:
    """Inside the block the list names the modules whose forward is running, the innermost last."""
    inside: list[str] = []
    handles = []
    for name, module in model.named_modules():
        label = (
            f"'{name}' ({type(module).__name__})" if name else f"{type(module).__name__}, the model itself"
        )

        def enter(module: nn.Module, args: Any, label: str = label) -> None:
            inside.append(label)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            inside.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield inside
    finally:
        for handle in handles:
            handle.remove()
