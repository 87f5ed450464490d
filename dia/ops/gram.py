"""Norm and inner product of sums of outer products, through Gram matrices, with their derivative written out.

For ``G = sum_t d_t a_t^T`` and ``H = sum_s e_s b_s^T``:

    |G|^2  = sum (D D^T) o (A A^T)        derivative 2 (A A^T) D and 2 (D D^T) A
    <G, H> = sum (D E^T) o (A B^T)        derivative (A B^T) E and (D E^T) B

The norm's matrices are symmetric, which halves its derivative; autograd cannot know.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dia.utils.tensors import per_victim


def _products(x: Tensor, y: Tensor) -> Tensor:
    """All inner products (..., T, S) of rows (..., T, n) and (..., S, n)."""
    if x.shape[-2] == y.shape[-2] == 1:  # a batch of 1 x 1 matrix products is slow
        return torch.linalg.vecdot(x, y).unsqueeze(-1)
    return x @ y.transpose(-1, -2)


def _combined(first: Tensor, x: Tensor, second: Tensor, y: Tensor) -> Tensor:
    """``first @ x + second @ y``: (..., T, T), (..., T, n), (..., T, S), (..., S, n) -> (..., T, n)."""
    if x.shape[-2] == y.shape[-2] == 1:
        return torch.addcmul(first * x, second, y)
    shape = x.shape
    first, x, second, y = (t.flatten(0, 1) for t in (first, x, second, y))
    return torch.baddbmm(first @ x, second, y).view(shape)


class _NormAndInnerProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, deltas: Tensor, inputs: Tensor, e: Tensor, b: Tensor) -> Any:
        dd, aa = _products(deltas, deltas), _products(inputs, inputs)
        de, ab = _products(deltas, e), _products(inputs, b)
        ctx.save_for_backward(deltas, inputs, e, b, dd, aa, de, ab)
        return (dd * aa).flatten(1).sum(1), (de * ab).flatten(1).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_square: Tensor, to_inner: Tensor) -> Any:
        deltas, inputs, e, b, dd, aa, de, ab = ctx.saved_tensors
        twice, once = (per_victim(g, deltas) for g in (2 * to_square, to_inner))
        to_deltas = to_inputs = None
        if ctx.needs_input_grad[0]:
            to_deltas = _combined(aa * twice, deltas, ab * once, e)
        if ctx.needs_input_grad[1]:
            to_inputs = _combined(dd * twice, inputs, de * once, b)
        return to_deltas, to_inputs, None, None


def norm_and_inner_product(deltas: Tensor, inputs: Tensor, e: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``|G|^2`` and ``<G, H>``, each (V,), differentiable once in ``deltas`` and ``inputs``.

    Args:
        deltas, inputs: (V, groups, T, out) and (V, groups, T, in), the factors of G.
        e, b: (V, groups, S, out) and (V, groups, S, in), the factors of H, constant.
    """
    return _NormAndInnerProduct.apply(deltas, inputs, e, b)  # type: ignore[no-any-return]
