"""Adam (Kingma & Ba 2015) with one learning rate per victim: the arithmetic of ``torch.optim.Adam`` on V rows."""

import torch
from torch import Tensor

from dia.utils.tensors import per_victim

BETA1, EPSILON = 0.9, 1e-8


@torch.no_grad()
def step(
    value: Tensor,
    gradient: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    number: int,
    lr: Tensor,
    beta2: float,
) -> None:
    """Update ``value`` and its moments in place.

    Args:
        value: (V, ...) the variable.
        gradient: Likewise.
        exp_avg, exp_avg_sq: First and second moment, likewise.
        number: Number of this step, from 1.
        lr: (V,) learning rates.
        beta2: Decay of the second moment.
    """
    exp_avg.lerp_(gradient, 1 - BETA1)
    exp_avg_sq.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    # value -= lr / c1 * exp_avg / (sqrt(exp_avg_sq) / sqrt(c2) + eps), the scalars gathered per victim
    size = per_victim(lr / (1 - BETA1**number), value)
    scale = (-1 / ((1 - beta2**number) ** 0.5 * size)).to(value.dtype)
    offset = (-EPSILON / size).to(value.dtype)
    value.addcdiv_(exp_avg, exp_avg_sq.sqrt().mul_(scale).add_(offset))
