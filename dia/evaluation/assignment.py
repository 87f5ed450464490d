"""Assign the reconstructions of a batch to its private images: a gradient says nothing about their order."""

import numpy as np
import torch
from torch import Tensor


def align_reconstructions(original: Tensor, reconstruction: Tensor) -> Tensor:
    """The reconstructions (V, N, C, H, W) in the order of their originals, see :func:`assign_reconstructions`."""
    order = assign_reconstructions(original, reconstruction)
    return reconstruction[torch.arange(len(order), device=order.device)[:, None], order]


def assign_reconstructions(original: Tensor, reconstruction: Tensor) -> Tensor:
    """Assign a reconstruction to each original, one to one, so that the sum of the MSEs is least.

    Args:
        original: (V, N, C, H, W).
        reconstruction: The same shape.

    Returns:
        int64 (V, N): entry (v, i) is the position of the reconstruction assigned to original i of victim v.
    """
    victims, images = original.shape[:2]
    order = torch.zeros(victims, images, dtype=torch.int64, device=original.device)
    if images == 1:
        return order
    from scipy.optimize import linear_sum_assignment  # half a second, which a cell of single images is spared

    a, b = (x.flatten(2).to(torch.float64) for x in (original, reconstruction))
    # Differences, not the expanded square: near-perfect reconstructions would drown in its rounding.
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square().cpu().numpy()
    for victim in range(victims):
        _, assigned = linear_sum_assignment(cost[victim])
        order[victim] = torch.from_numpy(assigned.astype(np.int64))
    return order
