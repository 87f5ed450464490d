r"""The input of a convolution by the row space of its weight gradient: no mask, delta or
label needed.

**Statement.** A convolution's weight gradient is ``G = sum_t delta_t patch_t(a)^T``, over the T positions (of all N
images). Where the deltas are linearly independent, which needs ``T <= out`` channels, the row space of G *is* the
span of the patches. So with P the projector on it, the input satisfies

.. math:: (I - P) \, \mathrm{patch}_t(b) = 0 \quad \text{for every } t,

which is linear in b and holds for each image's input a_n, and for everything that the N inputs span. Nothing that
comes behind the convolution matters: dropout, activations, normalisation and shortcuts only change the deltas.

**Conditions.**

* ``N T <= out`` and independent deltas: the rank of G is then the dimension of the patches' span, at most ``N T``.
* The patches overlap (stride below the kernel's size), or every patch may be any vector of the row space by itself.
  With stride 1 and padding N dimensions were found, no more; with stride 2 there may be more. Dilation d splits the
  pixels into lattices that share no patch, each of which has a scale of its own. Zero padding helps: it asks entries
  of the patches at the border to be zero. :func:`solutions` counts the dimensions.
* The patches do not span everything: ``N T < C K``, or the condition is empty (a 1 x 1 convolution of few channels).
* Groups: the statement holds for each group's own rows and channels (not done here: ``groups`` must be 1).

We know of no paper that states it; R-CONV (Eltaras et al., arXiv 2406.04227) uses the same gradient with known
deltas.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RANK = 2e-8
"""Singular values of a gradient below this share of the largest are rounding to float32. A direction too many only
weakens the condition a little; one too few excludes the input."""

SOLVED = 1e-6
"""Mean square share of patches outside the row space, below which a direction is a solution (float32 leaves 1e-9)."""

EXTRA = 6
"""Directions computed beyond those expected, so that the number of solutions can be counted."""

ITERATIONS = 4
"""Of inverse iteration."""


@dataclass(frozen=True)
class RowSpace:
    """The information in a convolution's gradient about its input.

    Attributes:
        rank: Of the gradient.
        positions: Number of positions T of one image.
        dimension: Number of independent solutions found, at most the number asked for plus ``EXTRA``.
        directions: (D, C, H, W) orthonormal, by growing residual, D at least ``dimension``.
        residuals: (D,) mean square shares of the directions' patches outside the row space, over the mean of a
            random direction.
    """

    rank: int
    positions: int
    dimension: int
    directions: Tensor
    residuals: Tensor


def may_determine(conv: nn.Conv2d, shape: tuple[int, int, int], images: int = 1) -> bool:
    """Tell whether the sizes allow a convolution's gradient to determine its input (C, H, W), up to N scalars."""
    positions = len(_taps(conv, shape).T)
    overlap = all(stride < kernel for stride, kernel in zip(conv.stride, conv.kernel_size, strict=True))
    few = images * positions <= conv.out_channels and images * positions < conv.weight[0].numel()
    return conv.groups == 1 and set(conv.dilation) == {1} and overlap and few


@torch.no_grad()
def solutions(conv: nn.Conv2d, gradient: Tensor, shape: tuple[int, int, int], images: int = 1) -> RowSpace:
    """The inputs all of whose patches lie in the row space of the gradient.

    Args:
        conv: The layer, one group, padded with zeros.
        gradient: Of its weight (out, C, kh, kw).
        shape: (C, H, W) of its input.
        images: Number of solutions expected.
    """
    channels, height, width = shape
    rows = gradient.double().flatten(1)
    values, vectors = torch.linalg.svd(rows, full_matrices=False)[1:]
    taps = _taps(conv, shape)
    kernel, positions = taps.shape
    rank = min(int((values > RANK * values[0]).sum()), images * positions)
    basis = vectors[:rank]
    outside = torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device) - basis.T @ basis
    outside = outside.view(channels, kernel, channels, kernel)
    pixels = height * width
    matrix = outside.new_zeros(pixels, pixels, channels, channels)
    for seen in taps.T:
        inside = (seen >= 0).nonzero()[:, 0]
        at = seen[inside]
        matrix[at[:, None], at] += outside[:, inside][..., inside].permute(1, 3, 0, 2)
    matrix = matrix.permute(2, 0, 3, 1).reshape(channels * pixels, -1)
    mean = matrix.diagonal().mean()
    residuals, directions = _smallest(matrix / mean, min(images + EXTRA, len(matrix)))
    dimension = int((residuals < SOLVED).sum())
    return RowSpace(rank, positions, dimension, directions.T.reshape(-1, *shape), residuals)


def _smallest(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The smallest eigenvalues of a positive semidefinite matrix and their vectors, by inverse iteration."""
    shifted = matrix.clone()
    shifted.diagonal().add_(1e-10)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    if int(failed):
        shifted.diagonal().add_(1e-7)
        factor = torch.linalg.cholesky(shifted)
    rng = torch.Generator().manual_seed(0)
    block = torch.randn(len(matrix), count, generator=rng, dtype=matrix.dtype).to(matrix)
    for _ in range(ITERATIONS):
        block = torch.linalg.qr(torch.cholesky_solve(block, factor)).Q
    values, turned = torch.linalg.eigh(block.T @ (matrix @ block))
    return values.clamp_min(0), block @ turned


def _taps(conv: nn.Conv2d, shape: tuple[int, int, int]) -> Tensor:
    """(K, T) pixel that each tap of the kernel sees at each position, -1 in the padding."""
    _, height, width = shape
    numbers = torch.arange(1, height * width + 1, dtype=torch.float64, device=conv.weight.device)
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    image = F.pad(numbers.view(1, 1, height, width), conv._reversed_padding_repeated_twice, mode=mode)
    seen = F.unfold(image, conv.kernel_size, dilation=conv.dilation, stride=conv.stride)
    return seen[0].round().long() - 1
