"""Build a model by name."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from dia.errors import ModelError
from dia.models.custom import CustomModel
from dia.models.dropout import Dropout, replace_dropout
from dia.models.dropout_sites import site_selector
from dia.models.randomness_check import check_no_hidden_randomness
from dia.models.registry import MODELS
from dia.models.weights_file import load_weights
from dia.utils.lazy_import import load_object
from dia.utils.randomness import default_generator


def build_model(
    name: str,
    shape: tuple[int, int, int],
    num_classes: int,
    p: float,
    seed: int,
    *,
    sites: str = "default",
    own: CustomModel | None = None,
    sizes: Sequence[int] = (2,),
) -> nn.Module:
    """A model with default initialisation under ``seed``, its dropout replayable, in train mode.

    The weights depend on the seed, the name, the architecture and the input shape alone, not on the dropout rate; or
    they are those of the file that a user's own model names.

    Args:
        name: One of :data:`dia.models.registry.MODELS`, or any name of a user's own model.
        shape: (C, H, W) of one image.
        num_classes: Number of outputs.
        p: Dropout rate of the chosen sites, 0 <= p < 1; the others do not drop.
        seed: The cell's seed.
        sites: Where the model drops, see :func:`dia.models.dropout_sites.site_selector`.
        own: How a user's own model is made.
        sizes: Numbers of images that share a pass in the run, on which a user's own model is tried.

    Raises:
        ModelError: Unknown name or site, an input shape that the architecture cannot take, or a user's own model that
            cannot be made or attacked, or whose weights do not fit.
    """
    if own is None and name not in MODELS:
        raise ModelError(f"unknown model '{name}'; known: {', '.join(MODELS)}")
    architecture = name if own is None else own.architecture
    make = load_object(MODELS[name].factory) if own is None else own.make
    with default_generator(seed, "weights", name):
        model: nn.Module = make(shape, num_classes, p)
    if own is not None and own.weights_path is not None:
        load_weights(model, name, own.weights_path)
    elif architecture is None:
        with default_generator(seed, "weights", name):
            _check_same_weights(name, model, make(shape, num_classes, p))
    replace_dropout(model).train()
    if own is None or own.dropout_rates == "cell":
        _set_rate(model, p)
    _drop_at(model, name, architecture, sites, p)
    if architecture is None:
        check_no_hidden_randomness(model, name, shape, num_classes, sizes)
    return model


def _check_same_weights(name: str, model: nn.Module, again: nn.Module) -> None:
    """Client and attacker build a model of their own, and must hold the same one.

    Raises:
        ModelError: Two builds under one seed differ.
    """
    first, second = model.state_dict(), again.state_dict()
    different = [
        key
        for key, value in first.items()
        if key not in second or not torch.equal(torch.nan_to_num(value), torch.nan_to_num(second[key]))
    ]
    if different or len(first) != len(second):
        raise ModelError(
            f"model '{name}' has other weights whenever it is built ({', '.join(different[:3])}): initialise them with "
            "the global generators of torch, numpy or Python, which are seeded, or load them from a file"
        )


def _set_rate(model: nn.Module, p: float) -> None:
    """Give all dropout modules the cell's rate."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = p


def _drop_at(model: nn.Module, name: str, architecture: str | None, sites: str, p: float) -> None:
    """Switch off the dropout modules that are not chosen."""
    try:
        is_chosen = site_selector(architecture, sites)
    except ValueError as error:
        raise ModelError(str(error)) from None
    modules = {key: module for key, module in model.named_modules() if isinstance(module, Dropout)}
    for key, module in modules.items():
        if not is_chosen(key):
            module.p = 0.0
        elif not 0 <= module.p < 1:
            raise ModelError(
                f"model '{name}': dropout module '{key}' has rate {module.p:g}; it must be below 1"
            )
    if p > 0 and not any(module.p for module in modules.values()):
        has = f"its dropout modules are {', '.join(modules)}" if modules else "it has no nn.Dropout module"
        for key, module in model.named_modules():
            if isinstance(module, _DropoutNd) and key not in modules:
                has += f"; {key} ({type(module).__name__}) cannot be replayed"
        raise ModelError(f"model '{name}' drops nowhere with dropout_sites {sites}: {has}")
