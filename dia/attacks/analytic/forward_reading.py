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
from dia.attacks.mask_readout.hyperplanes import ZERO

CLEAR = 9
"""By how much the largest of many parts that noise leaves exceeds their median (six standard deviations)."""

REFINEMENTS = 2
"""How often a mask is corrected by the layer behind it."""

INDEPENDENT = 1e-3
"""Smallest share of the largest singular value of deltas, of unit length, that tell images apart."""

ZEROS = (None, ZERO, 1e-7, 1e-5, 1e-4, 1e-3, 1e-2)
"""Shares of a row that count as zero, tried one after the other; None measures it for every image."""


def read_forward(
    chain: LinearChain, gradients: Mapping[str, Tensor], inputs: Tensor, zero: float | None
) -> tuple[list[Tensor | None], Tensor]:
    """Read the masks and labels of R images.

    Args:
        chain: The network.
        gradients: Received gradients by name, float64.
        inputs: (R, in) of the first layer, float64.
        zero: Share of a row, or of a layer's typical one, below which an image's part of it is zero; None measures it.

    Returns:
        Masks of every link but the last, (R, width) bool, None without dropout; labels (R,).
    """
    masks, inputs = to_last_layer(chain, gradients, inputs, zero)
    return masks, solve_factor(gradients[f"{chain.links[-1].name}.weight"], inputs).argmin(1)


def to_last_layer(
    chain: LinearChain, gradients: Mapping[str, Tensor], inputs: Tensor, zero: float | None
) -> tuple[list[Tensor | None], Tensor]:
    """The masks, and the last layer's inputs (R, width) with them; arguments as for :func:`read_forward`."""
    masks: list[Tensor | None] = []
    for link, following in pairwise(chain.links):
        units = link.activate(torch.nn.functional.linear(inputs, link.weight, link.bias)) * link.keep_scale
        mask = None
        if link.site is not None:
            behind = gradients[f"{following.name}.weight"]
            mask = _from_rows(gradients[f"{link.name}.weight"], inputs, zero, link.rate)
            for _ in range(REFINEMENTS):
                mask = _from_columns(behind, units, mask)
        masks.append(mask)
        inputs = units if mask is None else units * mask
    return masks, inputs


def _from_rows(gradient: Tensor, inputs: Tensor, zero: float | None, rate: float) -> Tensor:
    """(R, width) bool: the units with deltas, from the gradient (width, in) of the layer before and its inputs (R, in).

    Where an activation saturates, a unit that was kept has none.
    """
    typical = gradient.norm() / len(gradient) ** 0.5
    row = torch.maximum(gradient.norm(dim=1), typical)
    part = solve_factor(gradient, inputs).abs() * inputs.norm(dim=1, keepdim=True)
    mask = part > (ZERO if zero is None else zero) * row
    return mask & (part > _noise_floor(part, rate)) if zero is None else mask


def _from_columns(gradient: Tensor, units: Tensor, mask: Tensor) -> Tensor:
    """The mask (R, width) corrected by the gradient (out, width) of the layer behind: is an input nearer to what the
    unit (R, width) gives if kept, or to zero?

    The deltas of that layer follow from a mask that is mostly right; where they do not tell the images apart (fewer
    classes than images), the mask stays as it is.
    """
    deltas = solve_factor(gradient, units * mask)
    if not bool(deltas.isfinite().all()):
        return mask
    values = torch.linalg.svdvals(torch.nn.functional.normalize(deltas, dim=1))
    if len(values) < len(deltas) or not bool(values[-1] > INDEPENDENT * values[0]):
        return mask
    inputs = solve_factor(gradient.T, deltas)
    return (inputs - units).abs() < inputs.abs()


def _noise_floor(part: Tensor, rate: float) -> Tensor:
    """(R, 1) what noise leaves at most of the parts (R, units) of dropped units, a fraction ``rate`` of all."""
    return CLEAR * part.sort(1).values[:, int(part.shape[1] * rate / 2), None]  # their median


def solve_factor(gradient: Tensor, inputs: Tensor) -> Tensor:
    """The deltas (R, out) with ``gradient = deltas^T inputs`` (out, in) by least squares; not a number where the
    inputs (R, in) are linearly dependent."""
    q, r = torch.linalg.qr(inputs.T)
    diagonal = r.diagonal().abs()
    if r.shape[0] < r.shape[1] or not bool(diagonal.min() > 1e-9 * diagonal.max()):
        return gradient.new_full((len(inputs), len(gradient)), torch.nan)
    return torch.linalg.solve_triangular(r, q.T @ gradient.T, upper=True)
