"""The model as the client ran it: a copy of the user's, its dropout replayable."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Literal

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dia.errors import UpdateError
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.engine import GradientEngine
from dia.gradients.local_sgd import LocalSGDEngine
from dia.inversion.protocol import Protocol
from dia.models.dropout import Dropout, eval_mode, replace_dropout
from dia.models.randomness_check import check_no_hidden_randomness
from dia.utils.validation_errors import unknown_name_message

Shape = tuple[int, int, int]
DropoutRates = float | Literal["own", "unknown"] | Mapping[str, float]
WRAPPERS = ("_orig_mod", "module", "_module")
"""Attributes in which torch.compile, DataParallel and Opacus keep the module that they wrap."""


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside the wrappers of torch.compile, (Distributed)DataParallel and Opacus."""
    if not isinstance(model, nn.Module):
        raise UpdateError(f"model is a {type(model).__name__}; it must be a torch.nn.Module")
    if isinstance(model, torch.jit.ScriptModule):
        raise UpdateError(
            "model is a ScriptModule, whose dropout cannot be replayed; give the module it was made from"
        )
    for name in WRAPPERS:
        inner = model._modules.get(name)
        if inner is not None and len(model._modules) == 1 and not model._parameters:
            return unwrap(inner)
    return model


def client_copy(
    model: nn.Module, rates: DropoutRates, client_mode: Literal["train", "eval"] | None
) -> tuple[nn.Module, list[str]]:
    """A copy on the CPU in float32 with the client's dropout rates and mode, and warnings; ``model`` stays as it is.

    Args:
        model: The user's, unwrapped.
        rates: See :func:`dia.inversion.invert.invert`.
        client_mode: Likewise.

    Raises:
        UpdateError: A rate is out of range, or a named module does not drop.
    """
    copy = replace_dropout(deepcopy(model).cpu().float())
    for parameter in copy.parameters():
        parameter.grad = None
    _freeze(copy)
    drops = {name: module for name, module in copy.named_modules() if isinstance(module, Dropout)}
    given = rates if isinstance(rates, Mapping) else {}
    if isinstance(rates, int | float):
        given = dict.fromkeys(drops, rates)
        if rates and not drops:
            raise UpdateError(f"dropout_rates is {rates}, and the model has no nn.Dropout module")
    elif not isinstance(rates, Mapping) and rates not in ("own", "unknown"):
        raise UpdateError(
            f"dropout_rates is {rates!r}; it must be a rate, 'own' (those of the model), 'unknown', or a mapping "
            "from the names of dropout modules to rates"
        )
    for name, rate in given.items():
        if name not in drops:
            raise UpdateError(f"dropout_rates: {unknown_name_message('dropout module', name, drops)}")
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise UpdateError(
                f"dropout_rates: {name or 'model'} has {rate!r}; a rate is a number, at least 0 and below 1"
            )
        drops[name].p = float(rate)
    warnings = []
    if client_mode == "eval":
        copy.eval()
        for module in drops.values():
            module.p = 0.0
    elif client_mode == "train":
        copy.train()
    elif client_mode is not None:
        raise UpdateError(f"client_mode is {client_mode!r}; it must be 'train', 'eval' or None")
    elif not model.training:
        copy.train()
        affected = [
            name
            for name, module in copy.named_modules()
            if (isinstance(module, Dropout) and module.p)
            or isinstance(module, nn.modules.batchnorm._BatchNorm)
        ]
        if affected:
            warnings.append(
                f"the model is in eval mode, but clients train: {', '.join(affected)} are taken to run in train mode; "
                "say client_mode='train' if so, client_mode='eval' if the client really ran in eval mode"
            )
    norms = [n for n, m in copy.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if learning := [name for name in norms if copy.get_submodule(name).training]:
        warnings.append(
            f"BatchNorm in train mode ({', '.join(learning)}): the statistics of the client's batch are unknown and "
            "taken from the reconstruction itself, so the number of images must be right"
        )
    return copy, warnings


def _freeze(model: nn.Module) -> None:
    """Make parameters that the client does not train buffers: nothing about them is sent."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        model.requires_grad_(True)  # switched to inference as a whole it says nothing about the client
        return
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and not parameter.requires_grad:
                del module._parameters[name]
                module.register_buffer(name, parameter.data)


def count_classes(model: nn.Module, shape: Shape) -> int:
    """The outputs of a copy, and a check that it can be attacked.

    Raises:
        UpdateError: It cannot take images of this shape.
        ModelError: It draws random numbers outside of its dropout modules, or returns something else than logits.
    """
    if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape):
        raise UpdateError(
            f"shape is {shape}; it must be (channels, height, width), three whole numbers above 0"
        )
    try:
        with torch.no_grad(), eval_mode(model):
            logits = model(torch.zeros(2, *shape))
    except Exception as error:  # whatever the user's forward raises
        raise UpdateError(
            f"shape {shape}: the model cannot take such images ({type(error).__name__}: {error})"
        ) from error
    classes = int(logits.shape[-1]) if isinstance(logits, torch.Tensor) and logits.ndim == 2 else 0
    check_no_hidden_randomness(model, type(model).__name__, shape, classes)
    return classes


def client_engine(
    model: nn.Module,
    shape: Shape,
    num_classes: int,
    images: int,
    protocol: Protocol,
    device: torch.device,
    dtype: torch.dtype,
    rate: float | None = None,
) -> GradientEngine:
    """The engine of a copy of ``model``; ``rate`` replaces the dropout rate of all its modules."""
    copy = deepcopy(model).to(device, dtype)
    for module in copy.modules():
        if rate is not None and isinstance(module, Dropout):
            module.p = rate
    steps = protocol.minibatches(images)
    if len(steps) == 1:
        return BatchedGradientEngine(copy, shape, num_classes, images)
    assert protocol.learning_rate is not None  # FedSGD has one step
    return LocalSGDEngine(copy, shape, num_classes, steps, protocol.learning_rate)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Inside the block torch computes attention plainly: fused kernels have no second derivative."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
