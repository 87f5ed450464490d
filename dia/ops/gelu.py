"""GELU, exact: ``y = x Phi(x)``, ``y' = Phi + x phi``, ``y'' = phi (2 - x^2)`` (Hendrycks & Gimpel 2016)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

INVERSE_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        if not hasattr(ctx, "slope"):  # the same in every backward pass through this call
            ctx.slope = torch.ops.aten.gelu_backward(torch.ones_like(x), x.detach())
        return _GeluBackward.apply(grad, x, ctx.slope)


class _GeluBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(grad, x, slope)
        return grad * slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, adjoint: Tensor) -> Any:
        grad, x, slope = ctx.saved_tensors
        to_grad = adjoint * slope if ctx.needs_input_grad[0] else None
        to_x = None
        if ctx.needs_input_grad[1]:
            square = x * x
            to_x = (square * -0.5).exp_().mul_(square.neg_().add_(2)).mul_(INVERSE_SQRT_2PI)
            to_x.mul_(grad).mul_(adjoint)
        return to_grad, to_x, None


def gelu(x: Tensor) -> Tensor:
    """``F.gelu(x)``, any shape."""
    return _Gelu.apply(x)  # type: ignore[no-any-return]
