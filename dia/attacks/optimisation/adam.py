"""Adam (Kingma & Ba 2015) with one learning rate per victim: the arithmetic of ``torch.optim.Adam`` on V rows."""

import torch
from torch import Tensor

from dia.attacks.optimisation.blocks import blocks

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
        value: (V, D) the variables.
        gradient: Likewise.
        exp_avg, exp_avg_sq: First and second moment, likewise.
        number: Number of this step, from 1.
        lr: (V,) learning rates.
        beta2: Decay of the second moment.
    """
    # value -= lr / c1 * exp_avg / (sqrt(exp_avg_sq) / sqrt(c2) + eps), the scalars gathered per victim
    size = (lr / (1 - BETA1**number))[:, None]
    scale = (-1 / ((1 - beta2**number) ** 0.5 * size)).to(value.dtype)
    offset = (-EPSILON / size).to(value.dtype)
    for v, g, m, s, by, plus in blocks(value, gradient, exp_avg, exp_avg_sq, scale, offset):
        m.lerp_(g, 1 - BETA1)
        s.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        v.addcdiv_(m, s.sqrt().mul_(by).add_(plus))
