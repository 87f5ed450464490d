r"""One layer's input by linear least squares, from its weight gradient and the units that are known behind it.

With the deltas d at its outputs known, a convolution's weight gradient is linear in its input a (sums over images n
and positions t; tap k of the kernel sees pixel p(k, t)):

.. math:: G_{ock} = \sum_{n,t} d_{not} \, a_{n,c,p(k,t)}

The matrix of these *gradient equations* is the same for every channel c of a group, so that one factorisation
serves them all. Directions that it tells only weakly, or not at all, are left to the *forward equations* of the
known units, ``u = (W a + b)_u``, in which all channels meet. Both kinds are those of R-GAP (Zhu & Blaschko, ICLR
2021); the gradient equations alone are R-CONV (Eltaras et al. 2024).

All are weighted by their errors, under a wide Gaussian prior for a. The posterior covariance says what the equations
determine: the standard error of every entry of a, and the rank. The prior's pull is removed by iterating, so that it
only decides what nothing else does.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dia.attacks.analytic.conv_chain import Stage
from dia.attacks.analytic.unit_inverse import Units

NOISE = 1e-6
"""Error of a gradient's entries and of unit values, relative to their root mean square (float32 leaves less)."""

STRONG = 1e-3
"""Singular directions of the gradient equations above this share of the largest need no forward equations."""

MOST_UNKNOWNS = 6000
"""More weakly told directions than this are not factorised: only their best guess is sought, and nothing claimed."""

STEPS = 200
"""Of conjugate gradients for that guess."""

ROUNDS = 4
"""Of iterated Tikhonov regularisation."""

DETERMINED = 1e-2
"""Entries whose standard error is below this share of the prior's are determined."""


LOOSE = 1e-3
"""Directions whose standard error is above this share of the prior's may still move."""


@dataclass(frozen=True)
class LayerInput:
    """A layer's input.

    Attributes:
        value: (N, C, H, W); what nothing determines is 0 there.
        std: (N, C, H, W) standard errors; that of the prior where nothing is known.
        determined: (N, C, H, W) bool.
        unknowns: Entries on which anything depends.
        rank: Dimensions of them that the equations determine.
        openness: What the equations leave free; None where nothing is, or too much to tell.
    """

    value: Tensor
    std: Tensor
    determined: Tensor
    unknowns: int
    rank: int
    openness: "Openness | None" = None


def gradient_matrix(taps: Tensor, deltas: Tensor, pixels: int) -> Tensor:
    """(out K, N pixels) the matrix of the gradient equations.

    Args:
        taps: (K, T) as :meth:`Stage.taps`.
        deltas: (N, out, T).
        pixels: Number of input pixels of a channel.
    """
    (images, out, _), kernel = deltas.shape, len(taps)
    matrix = deltas.new_zeros(kernel, images * out, pixels + 1)
    for k, seen in enumerate(taps):
        matrix[k].index_add_(1, seen % (pixels + 1), deltas.flatten(0, 1))  # padding: the column cut off
    matrix = matrix[..., :pixels].view(kernel, images, out, pixels)
    return matrix.permute(2, 0, 1, 3).reshape(out * kernel, images * pixels)


@torch.no_grad()
def solve(
    stage: Stage, gradient: Tensor, deltas: Tensor, units: Units | None, seen: Tensor, scale: float | None
) -> LayerInput:
    """The input of a stage.

    Args:
        stage: The stage.
        gradient: Of its weight, float64, (out, C / groups, ...).
        deltas: (N, out, T) the loss's derivatives by the layer's outputs.
        units: (N, U) behind the layer; None where nothing is known of them.
        seen: (H W,) bool, the pixels on which anything depends.
        scale: Standard deviation of the prior; None: that of what the gradient equations tell strongly.
    """
    images, out = deltas.shape[:2]
    channels, height, width = stage.input_shape
    pixels, groups = height * width, stage.groups
    taps = stage.taps()
    columns = seen.repeat(images).nonzero()[:, 0]
    target = gradient.flatten(2).view(groups, out // groups, channels // groups, -1)
    target = target.transpose(2, 3).flatten(1, 2)  # (groups, out K, C / groups)
    noise = NOISE * float(gradient.square().mean().sqrt())
    bases, precisions, projected = [], [], []
    for of_group, right in zip(deltas.chunk(groups, 1), target, strict=True):
        matrix = gradient_matrix(taps, of_group, pixels)[:, columns] / noise
        values, vectors = torch.linalg.eigh(matrix.T @ matrix)
        bases.append(vectors)
        precisions.append(values.clamp_min(0))
        projected.append(vectors.T @ (matrix.T @ (right / noise)))
    basis, precision, information = (torch.stack(parts) for parts in (bases, precisions, projected))
    strong = (precision > STRONG**2 * precision.max()).all(0)  # the same number for every group
    kept = information[:, strong] / precision[:, strong, None]
    strongly = basis[:, :, strong] @ kept  # (groups, columns, C / groups)
    spread = (basis[:, :, strong].square() / precision[:, None, strong]).sum(2)  # (groups, columns)
    if scale is None:
        scale = float(strongly.square().mean().sqrt()) or 1.0
    weak = basis[:, :, ~strong]
    problem = _Weak(stage, weak, precision[:, ~strong], information[:, ~strong], columns, images, scale)
    coefficients, variance, rank, openness = problem.solve(problem.image(strongly), units)
    value = problem.image(strongly + weak @ coefficients)
    every = problem.image(spread[..., None].expand_as(strongly)) + problem.image(variance)
    std = torch.where(seen.view(height, width), every.sqrt(), torch.full_like(every, scale))
    unknowns = len(columns) * channels
    rank += unknowns - weak.shape[2] * channels
    return LayerInput(value, std, std < DETERMINED * scale, unknowns, rank, openness)


@dataclass(frozen=True)
class _Weak:
    """The unknowns that the gradient equations do not tell: coefficients (groups, q, C / groups) of a basis.

    Attributes:
        basis: (groups, columns, q) orthonormal.
        precision: (groups, q) of the gradient equations along it.
        information: (groups, q, C / groups) precision times what they tell.
        columns: Which of the N pixels the columns are.
        scale: Standard deviation of the prior.
    """

    stage: Stage
    basis: Tensor
    precision: Tensor
    information: Tensor
    columns: Tensor
    images: int
    scale: float

    def image(self, entries: Tensor) -> Tensor:
        """(groups, columns, C / groups) to (N, C, H, W)."""
        channels, height, width = self.stage.input_shape
        whole = entries.new_zeros(channels, self.images * height * width)
        whole[:, self.columns] = entries.transpose(1, 2).flatten(0, 1)
        return whole.view(channels, self.images, height, width).transpose(0, 1)

    def solve(self, start: Tensor, units: Units | None) -> tuple[Tensor, Tensor, int, "Openness | None"]:
        """Coefficients, variance (groups, columns, C / groups) of the entries, rank, openness."""
        groups, q, per_group = self.information.shape
        count = groups * q * per_group
        nothing = self.basis.new_zeros(groups, self.basis.shape[1], per_group)
        if count == 0:
            return self.information, nothing, 0, None
        if count > MOST_UNKNOWNS:
            return self._guess(start, units), nothing + self.scale**2, 0, None
        gram = torch.diag(self.precision[:, None].expand(groups, per_group, q).reshape(-1))
        right = self.information.transpose(1, 2).reshape(-1)
        if units is not None and bool(units.known.any()):
            matrix, target = self._forward(start, units)
            gram += matrix.T @ matrix
            right = right + matrix.T @ target
        prior = 1 / self.scale**2
        factor = torch.linalg.cholesky(gram + prior * torch.eye(count, dtype=gram.dtype, device=gram.device))
        solution = torch.zeros_like(right)
        for _ in range(ROUNDS):
            solution += torch.cholesky_solve((right - gram @ solution)[:, None], factor)[:, 0]
        covariance = torch.cholesky_inverse(factor)
        rank = round(count - prior * float(covariance.trace()))
        blocks = covariance.view(groups * per_group, q, groups * per_group, q).diagonal(dim1=0, dim2=2)
        blocks = blocks.permute(2, 0, 1).view(groups, per_group, q, q)
        basis = self.basis[:, None]
        variance = ((basis @ blocks) * basis).sum(3).transpose(1, 2)
        openness = Openness(self, covariance / self.scale**2) if rank < count else None
        return solution.view(groups, per_group, q).transpose(1, 2), variance, rank, openness

    def _forward(self, start: Tensor, units: Units) -> tuple[Tensor, Tensor]:
        """The weighted forward equations of the known units, by sending every basis image through the stage."""
        offset = self.stage.offset()
        weight = self._weights(units)[units.known]
        rows = []
        groups, _, q = self.basis.shape
        per_group = self.information.shape[2]
        for channel in range(groups * per_group):
            entries = self.basis.new_zeros(groups, self.basis.shape[1], per_group)
            responses = []
            for direction in self.basis[channel // per_group].T:
                entries[channel // per_group, :, channel % per_group] = direction
                responses.append(self.image(entries))
            sent = self.stage.units(torch.cat(responses)) - offset
            rows.append(sent.view(q, self.images, -1)[:, units.known])
        matrix = torch.cat(rows).T * weight[:, None]
        target = (units.value - self.stage.units(start))[units.known] * weight
        return matrix, target

    def entries(self, image: Tensor) -> Tensor:
        """(N, C, H, W) to (groups, columns, C / groups)."""
        whole = image.transpose(0, 1).flatten(1)[:, self.columns]
        return whole.view(len(self.basis), -1, whole.shape[1]).transpose(1, 2)

    def _guess(self, start: Tensor, units: Units | None) -> Tensor:
        """The coefficients by conjugate gradients: where they are too many, their errors are not computed."""
        known = None if units is None else self._weights(units)
        offset = self.stage.offset()

        def normal(c: Tensor) -> Tensor:
            result = (self.precision + 1 / self.scale**2)[..., None] * c
            if known is not None:
                sent = (self.stage.units(self.image(self.basis @ c)) - offset) * known.square()
                result = result + self._along(self.stage.pull_back(sent)[1])
            return result

        right = self.information
        if known is not None and units is not None:
            missing = (units.value - self.stage.units(start)) * known.square()
            right = right + self._along(self.stage.pull_back(missing)[1])
        c, r = torch.zeros_like(right), right
        direction, square = r, float(r.square().sum())
        for _ in range(STEPS):
            if square == 0:
                break
            image = normal(direction)
            step = square / float((direction * image).sum())
            c, r = c + step * direction, r - step * image
            before, square = square, float(r.square().sum())
            direction = r + square / before * direction
        return c

    def _along(self, image: Tensor) -> Tensor:
        """(N, C, H, W) to its coefficients (groups, q, C / groups)."""
        return self.basis.transpose(1, 2) @ self.entries(image)

    def _weights(self, units: Units) -> Tensor:
        """(N, U) one over the errors of the forward equations; 0 for units that are not known."""
        level = (units.value * units.known).square().sum() / units.known.sum().clamp_min(1)
        noise = (NOISE**2 * level).clamp_min(1e-300) * units.slope.square()
        return torch.where(units.known, units.slope / (units.std.square() + noise).sqrt(), 0.0)


@dataclass(frozen=True)
class Openness:
    """The part of a layer's input that the equations leave free.

    Attributes:
        weak: The unknowns.
        share: (unknowns, unknowns) their covariance over the prior's: about a projector on the free directions.
    """

    weak: _Weak
    share: Tensor

    def __call__(self, change: Tensor) -> Tensor:
        """The part of a change (N, C, H, W) that the equations do not forbid."""
        along = self.weak._along(change).transpose(1, 2)
        moved = (self.share @ along.reshape(-1)).view(along.shape).transpose(1, 2)
        return self.weak.image(self.weak.basis @ moved)

    def directions(self) -> Tensor:
        """(K, N, C, H, W) orthonormal, those that nothing but the prior holds."""
        values, vectors = torch.linalg.eigh(self.share)
        groups, q, per_group = self.weak.information.shape
        open_ = vectors[:, values > LOOSE**2].T.reshape(-1, groups, per_group, q).transpose(2, 3)
        return torch.stack([self.weak.image(self.weak.basis @ part) for part in open_])
