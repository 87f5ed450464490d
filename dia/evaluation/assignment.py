"""Which reconstruction belongs to which private image of a batch."""

import numpy as np
import torch
from torch import Tensor


def assign_reconstructions(original: Tensor, reconstruction: Tensor) -> Tensor:
    """Assign to each original the reconstruction that stands for it, so that the sum of the MSEs is least.

    A gradient of a batch says nothing about the order of its images.

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
