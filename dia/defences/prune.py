"""Pruning: only the largest entries of each parameter are sent (Lin et al. 2018, deep gradient compression)."""

import math

import torch
from torch import Tensor


def prune(gradient: dict[str, Tensor], keep: float) -> dict[str, Tensor]:
    """Set all but the largest entries of each parameter to zero, exactly ``ceil(keep * entries)`` staying.

    Args:
        gradient: By parameter, (V, *shape).
        keep: Share kept, in (0, 1].
    """
    pruned = {}
    for name, value in gradient.items():
        flat = value.flatten(1)
        largest = flat.abs().topk(math.ceil(keep * flat.shape[1]), dim=1).indices
        pruned[name] = torch.zeros_like(flat).scatter(1, largest, flat.gather(1, largest)).view_as(value)
    return pruned
