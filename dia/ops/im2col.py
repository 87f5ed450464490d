"""Windows of images as columns: ``F.unfold`` as views and one copy.

torch's own launches one CUDA kernel per image; its inverse, which the derivative needs, does not.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Pair = tuple[int, ...]


class _Im2Col(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Tensor:
        ctx.windows = (tuple(x.shape[2:]), kernel, dilation, padding, stride)
        if any(padding):
            x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
        for dim, (size, gap, step) in enumerate(zip(kernel, dilation, stride, strict=True), start=2):
            x = x.unfold(dim, (size - 1) * gap + 1, step)[..., ::gap]
        return x.permute(0, 1, 4, 5, 2, 3).flatten(4).flatten(1, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        return F.fold(grad, *ctx.windows), None, None, None, None


def im2col(x: Tensor, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Tensor:
    """(B, C, H, W) images as (B, C * kernel entries, positions) columns, differentiable once: ``F.unfold``.

    Args:
        x: Images.
        kernel, dilation, padding, stride: (height, width) each, as for ``F.unfold``.
    """
    return _Im2Col.apply(x, kernel, dilation, padding, stride)  # type: ignore[no-any-return]
