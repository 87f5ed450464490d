r"""An image from what comes out of a network's stem: convolution, group normalisation, ReLU, max pooling.

Known are the pooled features a, and the loss's derivatives d at them. Each feature is the largest of its window, which
tells one linear equation in the image, ``w_o . patch_t = sigma_g (a - beta_o) / gamma_o + mu_g``, once it is known
*which* unit t of the window it is; all units are at most the smallest feature of the windows they are in. That
excludes most candidates: where a feature exceeds those of the neighbouring windows, it can only be the unit that no
neighbour has; where two windows have the same feature, it is one that both have.

The rest is found by expectation and maximisation under falling temperature: candidates are weighted by how near the
largest they are in the current image, the image is the least squares solution with these weights (plus a smoothness
that is annealed away), and units above their bound are pulled down to it. Two more facts make it work:

* the group's means are linear in the image, its standard deviations only stretch the targets: one unknown per group;
* the convolution's weight gradient is ``G = sum_t D_t patch_t^T`` with ``sigma D = gamma d' - m_1 - m_2 xhat``, where
  d' are the derivatives d put where the largest units are, and the means m_1 and m_2 over a group are those that the
  normalisation's own gradient tells. With the current d' and xhat it is linear in the image as well.

All is blind to the scale of the image, but for the eps of the normalisation: the image returned has a standard
deviation of 1 in the first group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight


class Schedule(NamedTuple):
    """One phase: every number goes from the first to the second value, in equal ratios.

    Attributes:
        rounds: Of expectation and maximisation.
        smoothness: Weight of squared differences of neighbouring pixels.
        temperature: Of the candidates' weights, in standard deviations of a unit.
        gradient: Weight of the gradient's equations.
        steps: Of conjugate gradients in a round.
    """

    rounds: int
    smoothness: tuple[float, float]
    temperature: tuple[float, float]
    gradient: tuple[float, float]
    steps: int


SCHEDULES = (
    Schedule(45, (0.3, 1e-4), (0.5, 0.03), (1e-3, 0.2), 25),
    Schedule(40, (1e-4, 1e-6), (0.03, 0.01), (0.1, 0.1), 30),
)

EQUAL = 3e-4
"""Features closer than this share of the largest are equal."""

RIDGE = 1e-7
SMALLEST_GAIN = 1e-6


@dataclass(frozen=True)
class Stem:
    """The layers, and what is known behind them.

    Attributes:
        conv: Without bias.
        norm: Group normalisation.
        pool: Max pooling, behind a ReLU.
        features: (out, h, w) its outputs.
        deltas: (out, h, w) the loss's derivatives by them.
        weight, gain, shift: The gradients of the convolution and of the normalisation's affine part.
        shape: (C, H, W) of the image.
    """

    conv: nn.Conv2d
    norm: nn.GroupNorm
    pool: nn.MaxPool2d
    features: Tensor
    deltas: Tensor
    weight: Tensor
    gain: Tensor
    shift: Tensor
    shape: tuple[int, int, int]


class StemInversion:
    """The alternation of assignments and least squares; see the module."""

    def __init__(self, stem: Stem, dtype: torch.dtype = torch.float32) -> None:
        self.stem = stem
        kernel, features, deltas, self.weight, gain, shift = (
            value.detach().to(dtype)
            for value in (stem.conv.weight, stem.features, stem.deltas, stem.weight, stem.gain, stem.shift)
        )
        self.kernel, self.features, self.deltas = kernel, features.flatten(1), deltas.flatten(1)
        self.mean_square = float(self.weight.square().mean())
        channels, groups = len(kernel), stem.norm.num_groups
        self.sides = stem.conv(stem.conv.weight.new_zeros(1, *stem.shape)).shape[2:]
        self.units = self.sides.numel()
        self.windows = _windows(stem.pool, self.sides)  # (taps, windows), -1 in the padding
        self.group = torch.arange(channels) // (channels // groups)
        gamma = stem.norm.weight.detach().to(dtype)[:, None]
        self.gamma = torch.where(gamma.abs() < SMALLEST_GAIN, SMALLEST_GAIN, gamma)
        self.beta = stem.norm.bias.detach().to(dtype)[:, None]
        size = channels // groups * self.units
        sums = [(self.gamma[:, 0] * part).view(groups, -1).sum(1) for part in (shift, gain)]
        self.mean_delta, self.mean_product = (total[self.group, None] / size for total in sums)
        self.level = EQUAL * float(self.features.max())
        spread_out = self.features[:, None].expand(-1, len(self.windows), -1)
        self.bound = self._scatter(spread_out, torch.full_like(self.features[:, :1], torch.inf), "amin")
        near = self._gather(self.bound) >= self.features[:, None] - self.level
        self.candidate = near & (self.windows >= 0) & (self.features > self.level)[:, None]

    @torch.no_grad()
    def solve(self, schedules: Sequence[Schedule] = SCHEDULES) -> Tensor:
        """The image (C, H, W), up to its scale."""
        x = self.kernel.new_zeros(1, *self.stem.shape)
        spread = self.kernel.new_ones(self.stem.norm.num_groups)
        responsibility = self._expect(torch.zeros_like(self.bound), temperature=1.0)
        standard = None
        for schedule in schedules:
            for number in range(schedule.rounds):
                share = number / max(schedule.rounds - 1, 1)
                smoothness, temperature, gradient = (
                    first * (last / first) ** share for first, last in schedule[1:4]
                )
                x, spread = self._maximise(
                    x, spread, responsibility, standard, smoothness, gradient, schedule.steps
                )
                u = self._responses(x)
                deviation = u.view(len(spread), -1).square().mean(1).sqrt()
                x, spread = x / deviation[0], deviation / deviation[0]
                standard = u / deviation[self.group, None]
                responsibility = self._expect(standard, temperature)
        return x[0]

    def _expect(self, standard: Tensor, temperature: float) -> Tensor:
        """(out, taps, windows) how much each candidate is the largest of its window."""
        y = self._gather(standard * self.gamma + self.beta)
        y = torch.where(self.candidate, y, -torch.inf)
        weights = ((y - y.amax(1, keepdim=True)) / temperature).exp().nan_to_num()  # no candidates: NaN
        return weights / weights.sum(1, keepdim=True).clamp_min(1e-30)

    def _maximise(
        self,
        x: Tensor,
        spread: Tensor,
        responsibility: Tensor,
        standard: Tensor | None,
        smoothness: float,
        gradient: float,
        steps: int,
    ) -> tuple[Tensor, Tensor]:
        """Image and standard deviations of the groups, the first being 1, by conjugate gradients."""
        zeros = torch.zeros_like(self.features[:, :1])
        weight = self._scatter(responsibility, zeros, "sum")
        target = self._scatter(responsibility * self.features[:, None], zeros, "sum")
        if standard is not None:
            above = (standard * self.gamma + self.beta > self.bound) * (1 - weight).clamp_min(0)
            weight, target = weight + above, target + above * self.bound.nan_to_num(posinf=0.0)
        target = torch.where(weight > 0, target / weight.clamp_min(1e-9), zeros)
        wanted = (target - self.beta) / self.gamma  # of the standardised units
        weight = weight * self.gamma.square()
        others = F.one_hot(self.group, len(spread)).to(x)[:, 1:]  # groups whose deviation is unknown
        deltas = None
        if standard is not None and gradient > 0:
            placed = self._scatter(responsibility * self.deltas[:, None], zeros, "sum")
            deltas = self.gamma * placed - self.mean_delta - self.mean_product * standard
            deltas = deltas.view(1, -1, *self.sides)
        stress = gradient / self.mean_square

        def normal(x: Tensor, s: Tensor, first: float = 0.0) -> tuple[Tensor, Tensor]:
            """The normal equations' matrix times (x, s), and with ``first`` less its right side times that."""
            scale = (others @ s + first * (self.group == 0))[:, None]
            r = weight * (self._responses(x) - scale * wanted)
            at_x = self._transposed(self._centred(r)) + smoothness * _roughness(x) + RIDGE * x
            at_s = -(others.T @ (r * wanted).sum(1))
            if deltas is not None:
                error = self._weight_gradient(x, deltas) - scale[..., None, None] * self.weight
                at_x = at_x + stress * self._weight_gradient_transposed(error, deltas)
                at_s = at_s - stress * (others.T @ (error * self.weight).flatten(1).sum(1))
            return at_x, at_s

        s = spread[1:]
        r = [-part for part in normal(x, s, 1.0)]
        direction, square = list(r), _dot(r, r)
        for _ in range(steps):
            if square == 0:
                break
            image = normal(direction[0], direction[1])
            step = square / _dot(direction, image)
            x, s = x + step * direction[0], s + step * direction[1]
            r = [old - step * new for old, new in zip(r, image, strict=True)]
            before, square = square, _dot(r, r)
            direction = [new + square / before * old for new, old in zip(r, direction, strict=True)]
        return x, torch.cat([torch.ones_like(spread[:1]), s])

    def _responses(self, x: Tensor) -> Tensor:
        """(out, units) of an image, less the mean of their group."""
        conv = self.stem.conv
        return self._centred(F.conv2d(x, self.kernel, stride=conv.stride, padding=conv.padding)[0].flatten(1))

    def _centred(self, r: Tensor) -> Tensor:
        groups = self.stem.norm.num_groups
        return (r.view(groups, -1) - r.view(groups, -1).mean(1, keepdim=True)).view_as(r)

    def _transposed(self, r: Tensor) -> Tensor:
        conv, shape = self.stem.conv, (1, *self.stem.shape)
        return conv2d_input(shape, self.kernel, r.view(1, -1, *self.sides), conv.stride, conv.padding)

    def _weight_gradient(self, x: Tensor, deltas: Tensor) -> Tensor:
        conv = self.stem.conv
        return conv2d_weight(x, self.kernel.shape, deltas, conv.stride, conv.padding)

    def _weight_gradient_transposed(self, error: Tensor, deltas: Tensor) -> Tensor:
        conv, shape = self.stem.conv, (1, *self.stem.shape)
        return conv2d_input(shape, error, deltas, conv.stride, conv.padding)

    def _gather(self, of_units: Tensor) -> Tensor:
        """(out, units) to (out, taps, windows)."""
        return of_units[:, self.windows.clamp_min(0)]

    def _scatter(self, of_windows: Tensor, start: Tensor, how: str) -> Tensor:
        """(out, taps, windows) to (out, units), reduced over the windows that a unit is in."""
        index = torch.where(self.windows < 0, self.units, self.windows).flatten().expand(len(of_windows), -1)
        whole = start.expand(-1, self.units + 1).clone()
        return whole.scatter_reduce_(1, index, of_windows.flatten(1), how)[:, :-1]


def _windows(pool: nn.MaxPool2d, sides: torch.Size) -> Tensor:
    """(taps, windows) the unit at each place of each window, -1 in the padding."""
    numbers = torch.arange(1, sides[0] * sides[1] + 1, dtype=torch.float64).view(1, 1, *sides)
    seen = F.unfold(numbers, pool.kernel_size, padding=pool.padding, stride=pool.stride)
    return seen[0].round().long() - 1


def _roughness(x: Tensor) -> Tensor:
    """Half the derivative of the sum of squared differences between neighbours."""
    result = torch.zeros_like(x)
    across, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    result[..., 1:] += across
    result[..., :-1] -= across
    result[..., 1:, :] += down
    result[..., :-1, :] -= down
    return result


def _dot(a: list[Tensor] | tuple[Tensor, ...], b: list[Tensor] | tuple[Tensor, ...]) -> float:
    return sum(float((p * q).sum()) for p, q in zip(a, b, strict=True))
