"""Building a model by name."""

from collections.abc import Callable

from torch import nn

from dia.errors import ModelError
from dia.models import NAMES
from dia.models.dropout import make_replayable
from dia.models.mlp import MLP
from dia.models.vit import ViT
from dia.randomness import default_generator

FACTORIES: dict[str, Callable[..., nn.Module]] = {"mlp": MLP, "vit": ViT}


def build(name: str, shape: tuple[int, int, int], num_classes: int, p: float, seed: int) -> nn.Module:
    """A model with default initialisation under ``seed``, its dropout replayable, in train mode.

    The weights depend on the seed, the architecture and the input shape alone, not on the dropout rate.

    Args:
        name: One of :data:`dia.models.NAMES`.
        shape: (C, H, W) of one image.
        num_classes: Number of outputs.
        p: Dropout rate, 0 <= p < 1.
        seed: The cell's seed.

    Raises:
        ModelError: Unknown name, or an input shape that the architecture cannot take.
    """
    if name not in FACTORIES:
        raise ModelError(f"unknown model '{name}'; known: {', '.join(NAMES)}")
    with default_generator(seed, "weights", name):
        return make_replayable(FACTORIES[name](shape, num_classes, p))
