"""Attention with a dropout mask on its probabilities, in two steps that are each differentiable twice.

    P = softmax(scale q k^T)                  :func:`probabilities`
    O = (P o M) v                             :func:`mixed`          (o: entry by entry)

First derivatives, for dP at P and dO at O:

    dS = P o (dP - <dP, P>),  dq = scale dS k,  dk = scale dS^T q
    dP = (dO v^T) o M,  dM = (dO v^T) o P,  dv = (P o M)^T dO

The second ones are their derivatives by the product rule. Split at P, so that the softmax and the two products behind
it are undone once for everything that arrives at P.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def _softmax_backward(grad: Tensor, p: Tensor) -> Tensor:
    """``P o (grad - <grad, P>)``, row by row."""
    return torch._softmax_backward_data(grad, p, -1, p.dtype)


class _Probabilities(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, scale: float) -> Tensor:
        p = ((q * scale) @ k.transpose(-1, -2)).softmax(-1)
        ctx.save_for_backward(q, k, p)
        ctx.scale = scale
        return p

    @staticmethod
    def backward(ctx: Any, dp: Tensor) -> Any:
        return *_ProbabilitiesBackward.apply(dp, *ctx.saved_tensors, ctx.scale), None


class _ProbabilitiesBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dp: Tensor, q: Tensor, k: Tensor, p: Tensor, scale: float) -> Any:
        ds = _softmax_backward(dp, p)
        ctx.save_for_backward(dp, q, k, p, ds)
        ctx.scale = scale
        return (ds @ k).mul_(scale), (ds.transpose(-1, -2) @ q).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, uq: Tensor, uk: Tensor) -> Any:
        dp, q, k, p, ds = ctx.saved_tensors
        uq, uk = uq * ctx.scale, uk * ctx.scale
        u_ds = torch.cat([uq, q], -1) @ torch.cat([k, uk], -1).transpose(-1, -2)
        to_dp = _softmax_backward(u_ds, p) if ctx.needs_input_grad[0] else None
        along_u, along_dp = (torch.linalg.vecdot(t, p).unsqueeze(-1) for t in (u_ds, dp))
        to_p = u_ds.mul_(dp - along_dp).addcmul_(dp, along_u, value=-1)
        return to_dp, ds @ uk, ds.transpose(-1, -2) @ uq, to_p, None


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, mask: Tensor | None, v: Tensor) -> Tensor:
        a = p if mask is None else p * mask
        ctx.save_for_backward(p, mask, v, a)
        return a @ v

    @staticmethod
    def backward(ctx: Any, do: Tensor) -> Any:
        p, mask, v, a = ctx.saved_tensors
        # The mask's own gradient is wanted in the last backward pass alone, where nothing is differentiated again.
        wants_mask = ctx.needs_input_grad[1] and not torch.is_grad_enabled()
        return _MixedBackward.apply(do, p, mask, v, a.detach(), wants_mask)


class _MixedBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, do: Tensor, p: Tensor, mask: Tensor | None, v: Tensor, a: Tensor, wants_mask: bool
    ) -> Any:
        do = do.contiguous()
        dv = a.transpose(-1, -2) @ do
        da = do @ v.transpose(-1, -2)
        ctx.save_for_backward(do, p, mask, v, a, da)
        return da if mask is None else da * mask, da * p if wants_mask else None, dv

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, up: Tensor, umask: Tensor | None, uv: Tensor) -> Any:
        do, p, mask, v, a, da = ctx.saved_tensors
        u_a = do @ uv.transpose(-1, -2)
        if mask is None:
            u_da, to_p, to_mask = up, u_a, None
        else:
            u_da, to_p = up * mask, u_a * mask
            to_mask = torch.addcmul(u_a.mul_(p), up, da) if ctx.needs_input_grad[2] else None
        to_do = u_da @ v + a @ uv
        return to_do, to_p, to_mask, u_da.transpose(-1, -2) @ do, None, None


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """``(softmax(scale q k^T) o mask) v``.

    The gradient with respect to ``mask`` is given in a backward pass without ``create_graph`` alone.

    Args:
        q: (images, heads, Q, d).
        k, v: (images, heads, T, d).
        mask: (images, heads, Q, T) factors of the probabilities (a dropout mask over 1 - p); None without dropout.
        scale: Factor on the scores.
    """
    # Each is multiplied several times: better copied together once than in every product.
    p = _Probabilities.apply(q.contiguous(), k.contiguous(), scale)
    return _Mixed.apply(p, mask, v.contiguous())  # type: ignore[no-any-return]
