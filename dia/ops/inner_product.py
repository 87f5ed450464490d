"""Norm and inner product of vectors, with their derivative written out: ``2 g`` and ``h``, in three passes."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _NormAndInnerProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, h: Tensor) -> Any:
        ctx.save_for_backward(g, h)
        return (g * g).sum(1), (g * h).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_square: Tensor, to_inner: Tensor) -> Any:
        g, h = ctx.saved_tensors
        return torch.addcmul(g * (2 * to_square)[:, None], h, to_inner[:, None]), None


def norm_and_inner_product(g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """``|g|^2`` and ``<g, h>``, each (V,), of (V, D) vectors; differentiable once in ``g``, ``h`` is constant."""
    return _NormAndInnerProduct.apply(g, h)  # type: ignore[no-any-return]
