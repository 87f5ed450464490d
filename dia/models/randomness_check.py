"""Check that a user's own model can be attacked at all: one trial run, as the attack will run it.

Randomness that replaying dropout modules would miss (dropout inside functions, fused kernels and other modules) is
found by torch's own mark on its operators, so nothing depends on how the dropout is called; that of numpy and Python
by the state of their generators; any other, and a state outside of buffers, by comparing two passes.
"""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dia.errors import ModelError
from dia.models.buffer_guard import BufferGuard
from dia.models.dropout import dropout_disabled, dropout_sites
from dia.models.parameters import reference_parameter, trainable_parameters
from dia.utils.randomness import untouched_generators

CHECKPOINTING = (
    "computes activations again in its backward pass (torch.utils.checkpoint), where masks cannot be replayed: switch "
    "that off, it saves memory and changes no number"
)
_NOT_THE_MODELS = (Path(torch.__file__).parent, Path(__file__).parents[1])
"""Folders whose code is never the user's own."""


def check_no_hidden_randomness(
    model: nn.Module, name: str, shape: tuple[int, int, int], num_classes: int, sizes: Sequence[int] = (2,)
) -> None:
    """Run ``model``, made replayable and on the CPU, in its mode; refuse randomness and wrong outputs.

    Args:
        model: It is left as it was.
        name: What errors call it.
        shape: (C, H, W) of one image.
        num_classes: Outputs that it must have.
        sizes: Numbers of images that share a pass in the run.

    Raises:
        ModelError: It draws random numbers in train mode beside its dropout modules (names the module and, where
            there is one, the user's line), keeps a state outside of its buffers, cannot take the images, returns
            something else than logits, or cannot be differentiated twice.
    """
    trainable_parameters(model)
    guard = BufferGuard(model)
    try:
        for images in sizes:
            _check_batch(model, name, shape, num_classes, images)
    finally:
        guard.remove()


def _check_batch(
    model: nn.Module, name: str, shape: tuple[int, int, int], num_classes: int, images: int
) -> None:
    dtype = reference_parameter(model).dtype
    blank = torch.zeros(images, *shape, dtype=dtype)
    noise = torch.randn(images, *shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    try:
        with (
            torch.no_grad(),
            _named(model) as inside,
            _RandomOpDetector(name, inside),
            untouched_generators(),
            dropout_disabled(model),
        ):
            logits = model(blank)
            first, second = model(noise), model(noise)
        dropout_sites(model, blank)
    except ModelError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's forward raises
        channels, height, width = shape
        raise ModelError(
            f"model '{name}' cannot take images of {channels} channel(s) and {height} x {width} pixels, {images} at a "
            f"time in {'train' if model.training else 'eval'} mode: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (images, num_classes):
        got = (
            f"a tensor of shape {tuple(logits.shape)}"
            if isinstance(logits, torch.Tensor)
            else type(logits).__name__
        )
        raise ModelError(
            f"model '{name}' must return logits (images, {num_classes}) and returned {got} for {images} images"
        )
    if not logits.is_floating_point():
        raise ModelError(f"model '{name}' must return real logits and returned {logits.dtype}")
    if not torch.allclose(first, second, rtol=1e-6, atol=0, equal_nan=True):
        raise ModelError(
            f"model '{name}' gives other outputs from one pass to the next, dropout off and buffers restored: it draws "
            "from a random generator of its own or keeps a state outside of its buffers. Use nn.Dropout modules, and "
            "register_buffer for a state"
        )
    _differentiate_twice(model, name, noise)


def _differentiate_twice(model: nn.Module, name: str, images: torch.Tensor) -> None:
    """Take a gradient of a gradient, as every attack does."""
    parameters = list(trainable_parameters(model).values())
    images = images.detach().requires_grad_()
    try:
        with dropout_disabled(model), torch.autograd.graph.disable_saved_tensors_hooks(CHECKPOINTING):
            loss = model(images).logsumexp(1).sum()
            slopes = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
            squares = [slope.square().sum() for slope in slopes if slope is not None]
            if squares and (square := torch.stack(squares).sum()).requires_grad:
                torch.autograd.grad(square, images, allow_unused=True)
    except (Exception, SystemExit) as error:  # torch's, or of functions of the user's own
        if CHECKPOINTING in str(error) or "Checkpointing is not compatible" in str(error):
            raise ModelError(f"model '{name}' {CHECKPOINTING}") from error
        raise ModelError(
            f"model '{name}' cannot be differentiated twice, which gradient matching needs: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not squares:
        raise ModelError(
            f"no parameter of model '{name}' takes part in its outputs: a client would send nothing to attack"
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
                "Use nn.Dropout modules there instead of functional, fused or built-in dropout or a subclass with a "
                "forward of its own, or set its rate to 0"
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
        if frame.name == _check_batch.__name__:
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
