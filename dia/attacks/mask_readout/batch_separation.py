"""The gradient of a batch separated into those of its images, by the zeros of dropout and ReLU.

A Linear layer that sees one position per image has the weight gradient ``G = sum_n d_n a_n^T`` over N images, with the
loss's gradient d_n at its output and its input a_n. Row i mixes the a_n of the images whose d_n is not zero at unit i.
It lacks an image that dropped the unit, or for which a ReLU silenced it. In the N-dimensional space of the rows, those
that lack image n lie in one hyperplane, the span of the other images' inputs; rows that more images contribute to lie
in none by chance. Finding N such hyperplanes (:mod:`dia.attacks.mask_readout.hyperplanes`) is finding the factors d_n
and a_n up to a scale each, including all their zeros: the masks behind and before the layer.

Example, N = 2, inputs a and b::

    unit  used by   row of G            In the plane of the rows a hyperplane is a line. Units 1 and 3 are on the
    0     both      0.3 a - 0.8 b       line of a, units 2 and 4 on that of b; unit 0 is alone on its line. The two
    1     image 1   1.2 a               lines that hold several rows are the inputs' directions, and the rows'
    2     image 2           0.5 b       coefficients in them are the deltas: d_1 = (0.3, 1.2, 0, -0.7, 0, 0) and
    3     image 1  -0.7 a               d_2 = (-0.8, 0, 0.5, 0, 1.1, 0). Image 1 dropped units 2, 4, 5 (or its ReLU
    4     image 2           1.1 b       silenced them), image 2 units 1, 3, 5.
    5     none      0

So smooth activations (GELU, Tanh) need dropout to be separated, while a ReLU's zeros suffice without any: the method of
SPEAR (Dimitrov et al. 2024, arXiv 2403.03945; larger batches in SPEAR++, arXiv 2510.24200). Cocktail Party (Kariyappa
et al., ICML 2023) separates the same mixtures by statistical independence instead, approximately.

In a chain of layers the zeros of one layer's rows are those of the next layer's columns, so only the first layer has to
be searched. Behind the last layer d_n is ``softmax - onehot``, which tells the image's label.

Shapes: N images, R <= N of them told apart, out and in features of a layer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dia.attacks.mask_readout.hyperplanes import (
    NONZERO,
    REFIT_TOLERANCES,
    ZERO,
    find_hyperplanes,
    fit_hyperplanes,
    row_space,
)

MAX_CONTRADICTIONS = 0.01
"""The zeros of a layer's rows are those of the next layer's columns, but for at most this fraction of small numbers."""


class LowRankFactors(NamedTuple):
    """``G = deltas inputs^T``, one column per image found.

    Attributes:
        deltas: (out, R) float64.
        inputs: (in, R), columns of unit length.
        is_zero: (out, R) bool, coefficients of ``deltas`` that are zero.
        is_nonzero: (out, R) bool, those that certainly are not.
    """

    deltas: Tensor
    inputs: Tensor
    is_zero: Tensor
    is_nonzero: Tensor


class SeparatedLayer(NamedTuple):
    """One layer of a chain, ``G = rows.deltas rows.inputs^T``.

    Attributes:
        rows: Factors by the zeros of the rows.
        columns: Factors of ``G^T`` by the zeros of the columns, images in the same order; None for a first layer.
    """

    rows: LowRankFactors
    columns: LowRankFactors | None


def separate_layers(gradients: Sequence[Tensor], images: int, rates: Sequence[float]) -> list[SeparatedLayer]:
    """Separate a chain of layers, with the images in the same order in each.

    Args:
        gradients: Weight gradients (out, in), float64; the rows of one belong to the columns of the next.
        images: N.
        rates: Dropout rate behind each layer but the last; of a single layer, the rate before it.

    Returns:
        As many of the layers, from the first on, as can be separated without contradiction.
    """
    if len(gradients) == 1:
        only = by_columns(gradients[0], images, rates[0])
        return [] if only is None else [only]
    first = by_rows(gradients[0], images, rates[0])
    separated = [] if first is None else [SeparatedLayer(first, None)]
    for gradient, rate in zip(gradients[1:], rates, strict=True):
        if not separated:
            break
        is_zero = separated[-1].rows.is_zero
        layer = by_columns(gradient, images, rate, is_zero)
        if layer is None or layer.columns is None:
            break
        if int((layer.columns.is_nonzero & is_zero).sum()) > MAX_CONTRADICTIONS * int(is_zero.sum()):
            break
        separated.append(layer)
    return separated


def by_rows(
    gradient: Tensor, images: int, rate: float = 0.0, is_zero: Tensor | None = None
) -> LowRankFactors | None:
    """Factor a matrix whose rows are mixtures with zeros.

    Args:
        gradient: (out, in) float64, of rank at most ``images``.
        images: N.
        rate: Fraction of the coefficients expected to be zero; decides how long the search is.
        is_zero: (out, R) bool, coefficients that are known to be about zero; None to search for them.

    Returns:
        Factors in any order, or in that of ``is_zero``; None where the matrix has another rank or no such hyperplanes.
    """
    basis = row_space(gradient, images)
    if basis is None or (is_zero is not None and basis.shape[1] != is_zero.shape[1]):
        return None
    rows = gradient @ basis
    length = rows.norm(dim=1, keepdim=True)
    unit = rows / length.clamp_min(torch.finfo(rows.dtype).tiny)
    used = unit[length[:, 0] > 0]
    normals = find_hyperplanes(used, rate) if is_zero is None else fit_hyperplanes(unit, is_zero)
    if normals is None:
        return None
    coefficient = (unit @ normals).abs()
    inverse = torch.linalg.inv(normals)  # rows @ basis^T = (rows @ normals) (normals^-1 @ basis^T)
    inputs = basis @ inverse.T
    size = inputs.norm(dim=0)
    return LowRankFactors((rows @ normals) * size, inputs / size, coefficient < ZERO, coefficient > NONZERO)


def by_columns(
    gradient: Tensor, images: int, rate: float, is_zero: Tensor | None = None
) -> SeparatedLayer | None:
    """Separate a layer by the zeros of its columns (in, R), given or searched for as in :func:`by_rows`.

    The rows' own zeros, to which the columns lead, determine the factors better; behind the last layer there are none.
    """
    columns = by_rows(gradient.T, images, rate, is_zero)
    if columns is None:
        return None
    size = columns.deltas.norm(dim=0)
    deltas, inputs = columns.inputs * size, columns.deltas / size
    coefficient = deltas.abs() / gradient.norm(dim=1, keepdim=True).clamp_min(torch.finfo(deltas.dtype).tiny)
    rough = LowRankFactors(deltas, inputs, coefficient < ZERO, coefficient > NONZERO)
    return SeparatedLayer(
        by_rows(gradient, images, rate, coefficient < REFIT_TOLERANCES[0]) or rough, columns
    )


def dropped_units(before: SeparatedLayer | None, layer: SeparatedLayer) -> Tensor:
    """The units between two layers of a chain that each image dropped (or its ReLU silenced), (units, R) bool.

    A coefficient may be small by chance on one side, so both have to be zero.

    Args:
        before: The layer whose rows the units are; None where it is not in the chain.
        layer: The one whose columns they are.
    """
    return torch.stack([side.is_zero for side in _sides(before, layer)]).all(0)


def kept_units(before: SeparatedLayer | None, layer: SeparatedLayer) -> Tensor:
    """The units in :func:`dropped_units` that each image certainly kept, (units, R) bool."""
    return torch.stack([side.is_nonzero for side in _sides(before, layer)]).any(0)


def _sides(before: SeparatedLayer | None, layer: SeparatedLayer) -> list[LowRankFactors]:
    return [side for side in (before and before.rows, layer.columns) if side is not None]


def match_labels(last: SeparatedLayer, labels: Tensor) -> Tensor | None:
    """Find which of the separated images has each label; those of one label come in the order they were found.

    The rows of the last layer are ``softmax - onehot``, where the label's class outweighs all others.

    Args:
        last: The layer of the logits.
        labels: (N,) class indices.

    Returns:
        (N,) int64, the image of each label; None where the images have other labels.
    """
    found = last.rows.deltas.abs().argmax(0)
    if not torch.equal(found.sort().values, labels.sort().values):
        return None
    images = torch.empty_like(labels)
    images[labels.argsort(stable=True)] = found.argsort(stable=True)
    return images
