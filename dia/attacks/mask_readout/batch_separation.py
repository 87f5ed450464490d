"""The gradient of a batch taken apart into those of its images, by what dropout made zero.

A Linear layer that sees one position an image has the weight gradient ``G = sum_n d_n a_n^T`` of N images. Its row i
is a mixture of the a_n whose images kept unit i. In the N-dimensional space of the rows, those whose unit image n
dropped therefore lie in one hyperplane, the span of the other images, a share p of all rows; rows that more images
kept lie in none by chance. Finding N such hyperplanes is finding the factors d_n, a_n up to a scale each, the zeros of
the d_n (the masks behind the layer) and those of the a_n (the masks before it) included: sparse dictionary learning,
exact because nothing but rounding is between the rows and their planes.

In a chain of layers the zeros found in the rows of one are those of the columns of the next, so that only the first
has to be searched. Behind the last layer d_n is ``softmax - onehot``, which tells the image's label.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ZERO, ALIVE = 1e-6, 1e-5
"""A coefficient below the first share of its row is zero, above the second not, between them nobody knows. Rounding to
float32 leaves up to about 3e-7."""

LOOSE = (1e-4, ALIVE, ZERO)
"""Shares below which a coefficient is taken for zero while a hyperplane is being fitted to ever better known rows."""

RANK = 1e-6
"""Singular values below this share of the largest are rounding."""

PROBES = (1024, 2**17)
"""Fewest and most hyperplanes that are tried through random rows."""

AT_ONCE = 4096

CHANCE = 0.01
"""The zeros of a layer's rows are those of the next layer's columns, but for at most this share of small numbers."""


class LowRankFactors(NamedTuple):
    """``G = left right^T``, a column an image found.

    Attributes:
        left: (out, R) float64.
        right: (in, R), of unit length.
        zero: (out, R) bool, coefficients of ``left`` that are zero.
        alive: (out, R) bool, those that are certainly not.
    """

    left: Tensor
    right: Tensor
    zero: Tensor
    alive: Tensor


def by_rows(
    gradient: Tensor, images: int, rate: float = 0.0, zero: Tensor | None = None
) -> LowRankFactors | None:
    """The factors of a matrix whose rows are mixtures with zeros.

    Args:
        gradient: (out, in) float64, of rank at most ``images``.
        images: N.
        rate: Share of the coefficients expected to be zero; decides how long is searched.
        zero: (out, R) bool, coefficients that are known to be about zero; None: they are sought.

    Returns:
        Factors in any order, or in that of ``zero``; None where the matrix has another rank or no such hyperplanes.
    """
    basis = _row_space(gradient, images)
    if basis is None or (zero is not None and basis.shape[1] != zero.shape[1]):
        return None
    rows = gradient @ basis
    length = rows.norm(dim=1, keepdim=True)
    unit = rows / length.clamp_min(torch.finfo(rows.dtype).tiny)
    normals = _find_hyperplanes(unit[length[:, 0] > 0], rate) if zero is None else _fitted_to(unit, zero)
    if normals is None:
        return None
    share = (unit @ normals).abs()
    inverse = torch.linalg.inv(normals)  # rows @ basis^T = (rows @ normals) (normals^-1 @ basis^T)
    right = basis @ inverse.T
    size = right.norm(dim=0)
    return LowRankFactors((rows @ normals) * size, right / size, share < ZERO, share > ALIVE)


class SeparatedLayer(NamedTuple):
    """One layer of a chain, ``G = rows.left rows.right^T``.

    Attributes:
        rows: Factors by the zeros of the rows.
        columns: Factors of ``G^T`` by the zeros of the columns, images in the same order; None of a first layer.
    """

    rows: LowRankFactors
    columns: LowRankFactors | None


def by_columns(
    gradient: Tensor, images: int, rate: float, zero: Tensor | None = None
) -> SeparatedLayer | None:
    """A layer taken apart by zeros of its columns (in, R), which are given or sought as in :func:`by_rows`.

    The rows' own zeros, to which the columns lead, tell the rows' factors better; behind the last layer there are none.
    """
    columns = by_rows(gradient.T, images, rate, zero)
    if columns is None:
        return None
    size = columns.left.norm(dim=0)
    left, right = columns.right * size, columns.left / size
    share = left.abs() / gradient.norm(dim=1, keepdim=True).clamp_min(torch.finfo(left.dtype).tiny)
    rough = LowRankFactors(left, right, share < ZERO, share > ALIVE)
    return SeparatedLayer(by_rows(gradient, images, rate, share < LOOSE[0]) or rough, columns)


def chain(gradients: Sequence[Tensor], images: int, rates: Sequence[float]) -> list[SeparatedLayer]:
    """Take apart a chain of layers, images in the same order in each.

    Args:
        gradients: Weight gradients (out, in), float64; the rows of one belong to the columns of the next.
        images: N.
        rates: Dropout rate behind each layer but the last; of a single layer, the rate before it.

    Returns:
        As many of the layers, from the first, as can be taken apart without contradiction.
    """
    if len(gradients) == 1:
        only = by_columns(gradients[0], images, rates[0])
        return [] if only is None else [only]
    first = by_rows(gradients[0], images, rates[0])
    found = [] if first is None else [SeparatedLayer(first, None)]
    for gradient, rate in zip(gradients[1:], rates, strict=True):
        if not found:
            break
        zero = found[-1].rows.zero
        layer = by_columns(gradient, images, rate, zero)
        if layer is None or layer.columns is None:
            break
        if int((layer.columns.alive & zero).sum()) > CHANCE * int(zero.sum()):
            break
        found.append(layer)
    return found


def kept(before: SeparatedLayer | None, layer: SeparatedLayer) -> tuple[Tensor, Tensor]:
    """Which units between two layers of a chain are dropped (or silent), and which are kept, each (units, R) bool.

    One side's coefficient may be small by chance, so that both sides have to say zero.

    Args:
        before: The layer whose rows they are; None where it is not in the chain.
        layer: The one whose columns they are.
    """
    sides = [side for side in (before and before.rows, layer.columns) if side is not None]
    alive, zero = (torch.stack([getattr(side, what) for side in sides]) for what in ("alive", "zero"))
    return zero.all(0), alive.any(0)


def order(last: SeparatedLayer, labels: Tensor) -> Tensor | None:
    """Which of the images found has each of the labels (N,); those of one label come as they are found.

    The rows of the last layer are ``softmax - onehot``, where the label's class outweighs all others.

    Returns:
        (N,) int64; None where the images have other labels.
    """
    found = last.rows.left.abs().argmax(0)
    if not torch.equal(found.sort().values, labels.sort().values):
        return None
    images = torch.empty_like(labels)
    images[labels.argsort(stable=True)] = found.argsort(stable=True)
    return images


def _row_space(gradient: Tensor, images: int) -> Tensor | None:
    """(in, R) an orthonormal basis of the rows; None where they have more than ``images`` dimensions, or none."""
    rng = torch.Generator().manual_seed(0)
    size = min(images + 4, *gradient.shape)
    start = torch.randn(gradient.shape[1], size, generator=rng, dtype=torch.float64).to(gradient)
    columns = torch.linalg.qr(gradient @ start).Q
    columns = torch.linalg.qr(gradient @ (gradient.T @ columns)).Q
    values, vectors = torch.linalg.svd(columns.T @ gradient, full_matrices=False)[1:]
    rank = int((values > RANK * values[0]).sum())
    return vectors[:rank].T if 0 < rank <= images else None


def _refit(unit: Tensor, normal: Tensor) -> Tensor:
    """The hyperplane (R,) through the rows that are nearly in the one given."""
    for share in LOOSE:
        inside = unit[(unit @ normal).abs() < share]
        if len(inside) < len(normal) - 1:
            return normal
        normal = torch.linalg.svd(inside)[2][-1] if len(normal) > 1 else normal
    return normal


def _fitted_to(unit: Tensor, zero: Tensor) -> Tensor | None:
    """Hyperplanes (R, R), one a column, through the rows (out, R) known to be in them, a few mistaken."""
    if unit.shape[1] == 1:
        return unit.new_ones(1, 1)
    normals = []
    for inside in zero.T:
        given = unit[inside & (unit != 0).any(1)]
        if len(given) < unit.shape[1]:
            return None
        through, held = _random_hyperplanes(given, PROBES[0] // 8, torch.Generator().manual_seed(0))
        normal = _refit(unit, through[held.argmax()])
        if not _is_cyclic_flat(unit[(unit @ normal).abs() < ZERO]):  # more than one hyperplane fits
            return None
        normals.append(normal)
    return _independent(normals)


def _random_hyperplanes(unit: Tensor, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hyperplanes (count, R) through R - 1 random rows each, and how many of the rows (K, R) are in each."""
    chosen = torch.randint(len(unit), (count, unit.shape[1] - 1), generator=rng).to(unit.device)
    through = torch.linalg.qr(unit[chosen].transpose(1, 2), mode="complete").Q[..., -1]
    return through, ((through @ unit.T).abs() < ALIVE).sum(1)


def _find_hyperplanes(unit: Tensor, rate: float) -> Tensor | None:
    """All hyperplanes (R, R), one a column, that hold more of the rows (K, R) than chance would put there."""
    count = unit.shape[1]
    if count == 1:
        return unit.new_ones(1, 1)
    if len(unit) < count + 1:
        return None
    share = (rate - rate**count) / (
        1 - rate**count
    )  # of the rows that are not zero, in the plane of one image
    wanted = 4 * math.log(1000) / share ** (count - 1) if share else 0
    rng = torch.Generator().manual_seed(0)
    left, promising = int(min(max(wanted, PROBES[0]), PROBES[1])), []
    while left > 0:
        through, held = _random_hyperplanes(unit, min(left, AT_ONCE), rng)
        rows = torch.nonzero(held > count).flatten()
        promising += list(zip(held[rows].tolist(), through[rows], strict=True))
        left -= AT_ONCE
    found: list[Tensor] = []
    for _, normal in sorted(promising, key=lambda pair: -pair[0]):
        if any(float((normal @ other).abs()) > 1 - 1e-6 for other in found):
            continue
        normal = _refit(unit, normal)
        if _is_cyclic_flat(unit[(unit @ normal).abs() < ZERO]) and all(
            float((normal @ other).abs()) < 1 - 1e-9 for other in found
        ):
            found.append(normal)
        if len(found) == count:
            return _independent(found)
    return None


def _is_cyclic_flat(rows: Tensor) -> bool:
    """Whether rows (K, R) span a hyperplane of which none of them is the only one to hold up a dimension.

    A plane through the few dimensions that one image's rows share and any other row holds many rows as well; that
    other row is then indispensable. In general position only the planes of one image each have no such row (the
    cyclic hyperplanes of a transversal matroid: their rank is the number of images in them).
    """
    vectors, values, _ = torch.linalg.svd(rows, full_matrices=False)
    span = rows.shape[1] - 1
    if len(rows) <= span or values[span - 1] < 1e-4 * values[0]:
        return False
    return bool(vectors[:, :span].square().sum(1).max() < 0.999)


def _independent(normals: list[Tensor]) -> Tensor | None:
    together = torch.stack(normals, dim=1)
    return together if float(torch.linalg.svdvals(together)[-1]) > RANK else None
