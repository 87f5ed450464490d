"""Anisotropic total variation with its derivative written out."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dia.utils.tensors import per_victim


class _TotalVariation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        right = x[..., 1:] - x[..., :-1]
        down = x[..., 1:, :] - x[..., :-1, :]
        ctx.save_for_backward(right.sign(), down.sign())
        ctx.shape = x.shape
        return right.abs_().flatten(1).mean(1) + down.abs_().flatten(1).mean(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        right, down = ctx.saved_tensors
        grad = per_victim(grad, right)
        to_x = right.new_zeros(ctx.shape)
        for signs, dim in ((right, -1), (down, -2)):
            if not signs.numel():
                continue
            signs = signs * (grad * (len(grad) / signs.numel()))
            to_x.narrow(dim, 1, signs.shape[dim]).add_(signs)
            to_x.narrow(dim, 0, signs.shape[dim]).sub_(signs)
        return to_x


def total_variation(x: Tensor) -> Tensor:
    """Mean |difference| to the right plus mean |difference| downwards, (V,), of each victim's (N, C, H, W)."""
    return _TotalVariation.apply(x)  # type: ignore[no-any-return]
