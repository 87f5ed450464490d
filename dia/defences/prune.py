"""Pruning: only the largest entries of each parameter are sent (Lin et al. 2018, deep gradient compression)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def prune(
    gradient: dict[str, Tensor], keep: float, rngs: Sequence[torch.Generator] = ()
) -> dict[str, Tensor]:
    """Set all but the ``ceil(keep * entries)`` largest entries of each parameter to zero.

    Args:
        gradient: By parameter, (V, *shape).
        keep: Fraction kept, in (0, 1].
        rngs: Unused.
    """
    pruned = {}
    for name, value in gradient.items():
        flat = value.flatten(1)
        largest = flat.abs().topk(math.ceil(keep * flat.shape[1]), dim=1).indices
        pruned[name] = torch.zeros_like(flat).scatter(1, largest, flat.gather(1, largest)).view_as(value)
    return pruned
