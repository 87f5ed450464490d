"""Layer normalisation without its affine part: ``xhat = (x - mean) / sqrt(var + eps)`` (Ba et al. 2016).

With ``r = 1 / sqrt(var + eps)`` and the projection ``P(v) = v - mean(v) - xhat mean(v xhat)``:

    backward           dx = r P(g)
    second, to g       r P(u)
    second, to x       -r P(r (c u + m g)) - s r xhat / D      c = mean(g xhat), m = mean(u xhat), s = <u, dx>
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def _projected(grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    """``r P(grad)`` over the last dimension, by torch's fused kernel."""
    backward = torch.ops.aten.native_layer_norm_backward
    return backward(grad, x, [x.shape[-1]], mean, rstd, None, None, [True, False, False])[0]  # type: ignore[no-any-return]


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        xhat, mean, rstd = torch.native_layer_norm(x, [x.shape[-1]], None, None, eps)
        ctx.save_for_backward(x, xhat, mean, rstd)
        return xhat

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, xhat, mean, rstd = ctx.saved_tensors
        return _LayerNormBackward.apply(grad, x, xhat.detach(), mean, rstd), None


class _LayerNormBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, xhat: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
        dx = _projected(grad, x, mean, rstd)
        ctx.save_for_backward(grad, x, xhat, mean, rstd, dx)
        return dx

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, adjoint: Tensor) -> Any:
        grad, x, xhat, mean, rstd, dx = ctx.saved_tensors
        to_grad = _projected(adjoint, x, mean, rstd) if ctx.needs_input_grad[0] else None
        to_x = None
        if ctx.needs_input_grad[1]:
            size = x.shape[-1]
            along_grad = torch.linalg.vecdot(grad, xhat).unsqueeze(-1).mul_(rstd / -size)
            along_adjoint = torch.linalg.vecdot(adjoint, xhat).unsqueeze(-1).mul_(rstd / -size)
            mixed = torch.addcmul(adjoint * along_grad, grad, along_adjoint)
            shrink = torch.linalg.vecdot(adjoint, dx).unsqueeze(-1).mul_(rstd / -size)
            to_x = _projected(mixed, x, mean, rstd).addcmul_(xhat, shrink)
        return to_grad, to_x, None, None, None


def normalised(x: Tensor, eps: float) -> Tensor:
    """``x`` (..., D) to mean 0 and variance 1 over its last dimension: ``F.layer_norm(x, (D,), eps=eps)``."""
    return _LayerNorm.apply(x.contiguous(), eps)  # type: ignore[no-any-return]
