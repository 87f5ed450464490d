"""Adam (Kingma & Ba 2015) with a learning rate a victim: ``torch.optim.Adam``'s arithmetic on V rows."""

import torch
from torch import Tensor

BETA1, EPSILON = 0.9, 1e-8


@torch.no_grad()
def step(
    value: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    number: int,
    rate: Tensor,
    beta2: float,
) -> None:
    """Update ``value`` and its moments in place.

    Args:
        value: (V, ...) what is optimised.
        gradient: Likewise.
        first, second: Moments, likewise.
        number: Which step this is, from 1.
        rate: (V,) learning rates.
        beta2: Decay of the second moment.
    """
    first.lerp_(gradient, 1 - BETA1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    # value -= rate / c1 * first / (sqrt(second) / sqrt(c2) + eps), the scalars gathered per victim
    size = (rate / (1 - BETA1**number)).view(-1, *[1] * (value.dim() - 1))
    scale = (-1 / ((1 - beta2**number) ** 0.5 * size)).to(value.dtype)
    offset = (-EPSILON / size).to(value.dtype)
    value.addcdiv_(first, second.sqrt().mul_(scale).add_(offset))
