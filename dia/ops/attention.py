"""Attention with a dropout mask on its probabilities.

    S = scale q k^T,   P = softmax(S),   A = P o M,   O = A v                    (o: entry by entry)

First derivative, for dO at O:   dv = A^T dO,  dP = (dO v^T) o M,  dS = P o (dP - <dP, P>),  dq = scale dS k,
dk = scale dS^T q. The second derivative, for adjoints of (dq, dk, dv), follows by the product rule below; what
belongs to O's own adjoint is the first derivative again.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def _softmax_backward(grad: Tensor, probabilities: Tensor) -> Tensor:
    """``P o (grad - <grad, P>)`` row by row."""
    return torch._softmax_backward_data(grad, probabilities, -1, probabilities.dtype)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        probabilities = ((q * scale) @ k.transpose(-1, -2)).softmax(-1)
        dropped = probabilities if mask is None else probabilities * mask
        ctx.save_for_backward(q, k, v, mask, probabilities, dropped)
        ctx.scale = scale
        return dropped @ v

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        q, k, v, mask, probabilities, dropped = ctx.saved_tensors
        inner = [t if t is None else t.detach() for t in (probabilities, dropped)]
        # In the last backward pass nothing is differentiated again, and the mask's gradient is wanted.
        wants_mask = ctx.needs_input_grad[3] and not torch.is_grad_enabled()
        dq, dk, dv, dmask = _AttentionBackward.apply(grad, q, k, v, mask, *inner, ctx.scale, wants_mask)
        return dq, dk, dv, dmask, None


class _AttentionBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        probabilities: Tensor,
        dropped: Tensor,
        scale: float,
        wants_mask: bool,
    ) -> Any:
        grad = grad.contiguous()
        dv = dropped.transpose(-1, -2) @ grad
        d_dropped = grad @ v.transpose(-1, -2)
        d_probabilities = d_dropped if mask is None else d_dropped * mask
        d_scores = _softmax_backward(d_probabilities, probabilities)
        dq = (d_scores @ k).mul_(scale)
        dk = (d_scores.transpose(-1, -2) @ q).mul_(scale)
        dmask = d_dropped * probabilities if wants_mask else None
        ctx.save_for_backward(
            grad, q, k, v, mask, probabilities, dropped, d_dropped, d_probabilities, d_scores
        )
        ctx.scale = scale
        return dq, dk, dv, dmask

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, uq: Tensor, uk: Tensor, uv: Tensor, umask: Tensor | None) -> Any:
        grad, q, k, v, mask, p, a, da, dp, ds = ctx.saved_tensors
        scale = ctx.scale
        # dq = scale dS k, dk = scale dS^T q
        u_ds = torch.cat([uq, q], -1) @ torch.cat([k, uk], -1).transpose(-1, -2)
        u_ds.mul_(scale)
        to_k = ds.transpose(-1, -2) @ uq
        to_q = ds @ uk
        # dS = P o (dP - <dP, P>)
        u_dp = _softmax_backward(u_ds, p)
        along_u, along_dp = (torch.linalg.vecdot(t, p).unsqueeze(-1) for t in (u_ds, dp))
        u_p = u_ds.mul_(dp - along_dp).addcmul_(dp, along_u, value=-1)
        # dv = A^T dO, and dP = (dO v^T) o M
        u_a = grad @ uv.transpose(-1, -2)
        if mask is None:
            u_da, to_mask = u_dp, None
            u_p += u_a
        else:
            u_da = u_dp * mask
            to_mask = (u_dp.mul_(da)).addcmul_(u_a, p) if ctx.needs_input_grad[4] else None
            u_p.addcmul_(u_a, mask)
        to_grad = u_da @ v + a @ uv
        to_v = u_da.transpose(-1, -2) @ grad
        u_s = _softmax_backward(u_p, p)
        to_q = (to_q + u_s @ k).mul_(scale)
        to_k = (to_k + u_s.transpose(-1, -2) @ q).mul_(scale)
        return to_grad, to_q, to_k, to_v, to_mask, None, None, None, None


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """``(softmax(scale q k^T) o mask) v``.

    Args:
        q: (images, heads, Q, d).
        k, v: (images, heads, T, d).
        mask: (images, heads, Q, T) factors of the probabilities (a dropout mask over 1 - p); None without dropout.
        scale: Factor on the scores.
    """
    # Each is multiplied several times: better copied together once than in every product.
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    return _Attention.apply(q, k, v, mask, scale)  # type: ignore[no-any-return]
