"""Build a model by name."""

from torch import nn

from dia.errors import ModelError
from dia.models.custom import CustomModel
from dia.models.dropout import Dropout, replace_dropout
from dia.models.dropout_sites import site_selector
from dia.models.randomness_check import check_no_hidden_randomness
from dia.models.registry import MODELS
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
) -> nn.Module:
    """A model with default initialisation under ``seed``, its dropout replayable, in train mode.

    The weights depend on the seed, the architecture and the input shape alone, not on the dropout rate.

    Args:
        name: One of :data:`dia.models.registry.MODELS`, or any name of a user's own model.
        shape: (C, H, W) of one image.
        num_classes: Number of outputs.
        p: Dropout rate of the chosen sites, 0 <= p < 1; the others do not drop.
        seed: The cell's seed.
        sites: Where the model drops, see :func:`dia.models.dropout_sites.site_selector`.
        own: How a user's own model is made.

    Raises:
        ModelError: Unknown name or site, an input shape that the architecture cannot take, or a user's own model that
            cannot be made or attacked.
    """
    if own is None and name not in MODELS:
        raise ModelError(f"unknown model '{name}'; known: {', '.join(MODELS)}")
    make = load_object(MODELS[name].factory) if own is None else own.make
    with default_generator(seed, "weights", name):
        model: nn.Module = make(shape, num_classes, p)
    replace_dropout(model).train()
    _drop_at(model, name, sites, p)
    if own is not None:
        check_no_hidden_randomness(model, name, shape, num_classes)
    return model


def _drop_at(model: nn.Module, name: str, sites: str, p: float) -> None:
    """Set the rate of the chosen dropout modules to ``p`` and that of the others to 0."""
    try:
        is_chosen = site_selector(name, sites)
    except ValueError as error:
        raise ModelError(str(error)) from None
    modules = {key: module for key, module in model.named_modules() if isinstance(module, Dropout)}
    for key, module in modules.items():
        module.p = p if is_chosen(key) else 0.0
    if p > 0 and not any(map(is_chosen, modules)):
        has = f"its dropout modules are {', '.join(modules)}" if modules else "it has no nn.Dropout module"
        raise ModelError(f"model '{name}' drops nowhere with dropout_sites {sites}: {has}")
