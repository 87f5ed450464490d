"""Masks and labels of images that are known, read from the first layer of a chain to the last.

With the inputs ``a_n`` of all images known, a layer's gradient ``G = sum_n d_n a_n^T`` is a linear system for the
deltas ``d_n``. Their zeros are the mask behind the layer, which gives the next layer's inputs; the deltas of the last
layer are ``softmax - onehot``, negative at the label alone. No search is needed, and whatever is read wrongly is
found out when it is replayed.
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from dia.attacks.analytic.linear_chain import LinearChain

ZEROS = (1e-6, 1e-7, 1e-5, 1e-4, 1e-3, 1e-2)
"""Shares of a row that count as zero, tried one after the other: the last ones under noise."""


def read_forward(
    chain: LinearChain, gradients: Mapping[str, Tensor], inputs: Tensor, zero: float
) -> tuple[list[Tensor | None], Tensor]:
    """Read the masks and labels of R images.

    Args:
        chain: The network.
        gradients: Received gradients by name, float64.
        inputs: (R, in) of the first layer, float64.
        zero: Share of a layer's typical row below which an image's part of a row is zero.

    Returns:
        Masks of every link but the last, (R, width) bool, None without dropout; labels (R,).
    """
    masks: list[Tensor | None] = []
    for link, _ in pairwise(chain.links):
        mask = None
        if link.site is not None:
            gradient = gradients[f"{link.name}.weight"]
            share = _deltas(gradient, inputs).abs() * inputs.norm(dim=1, keepdim=True)
            typical = gradient.norm() / len(gradient) ** 0.5
            mask = share > zero * torch.maximum(gradient.norm(dim=1), typical)
        masks.append(mask)
        units = link.activate(torch.nn.functional.linear(inputs, link.weight, link.bias))
        inputs = units if mask is None else units * mask * link.keep_scale
    return masks, _deltas(gradients[f"{chain.links[-1].name}.weight"], inputs).argmin(1)


def _deltas(gradient: Tensor, inputs: Tensor) -> Tensor:
    """(R, out) by least squares; not a number where the inputs (R, in) are linearly dependent."""
    q, r = torch.linalg.qr(inputs.T)
    diagonal = r.diagonal().abs()
    if r.shape[0] < r.shape[1] or not bool(diagonal.min() > 1e-9 * diagonal.max()):
        return gradient.new_full((len(inputs), len(gradient)), torch.nan)
    return torch.linalg.solve_triangular(r, q.T @ gradient.T, upper=True)
