"""Clipping: a client's contribution has a bounded norm (Abadi et al. 2016, algorithm 1).

Alone it changes no direction, and the attacks compare directions: it is a defence only together with noise.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dia.utils.tensors import per_victim


def clip(gradient: dict[str, Tensor], norm: float, rngs: Sequence[torch.Generator] = ()) -> dict[str, Tensor]:
    """Scale each victim's gradient to a norm of at most ``norm``, over all parameters together.

    Args:
        gradient: By parameter, (V, *shape).
        norm: Largest norm, above 0.
        rngs: Unused.
    """
    squares = torch.stack([value.square().flatten(1).sum(1) for value in gradient.values()]).sum(0)
    scale = (norm / squares.sqrt()).clamp(max=1)  # a zero gradient: inf, clamped to 1
    return {name: value * per_victim(scale, value) for name, value in gradient.items()}
