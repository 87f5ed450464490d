"""From a unit's output back to its pre-activation, its slope, and whether dropout or a ReLU silenced it.

A unit that is exactly zero behind dropout was dropped, and behind a ReLU was dropped or inactive: either way its
delta is zero, so that neither needs to be told from the other (R-GAP, Zhu & Blaschko 2021, and R-CONV, Eltaras et
al. 2024, read ReLUs likewise; they know no dropout). GELU and SiLU take a value below zero at two points: the one
above the turning point is taken unless the caller knows better.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dia.attacks.analytic.conv_chain import Unitwise

TURNING_POINTS: dict[type[nn.Module], float] = {nn.GELU: -0.7517915246935645, nn.SiLU: -1.2784645427610738}
"""Inputs at which these activations have their minimum; the others rise everywhere."""

FURTHEST = 40.0
"""Pre-activations are sought in [-FURTHEST, FURTHEST]."""

HALVINGS = 60
ZERO = 1e-6
"""Values below this share of the largest are zero, float32 rounding taken into account."""

UNCERTAIN = 1e-2
"""Largest standard error, as a share of the largest value, at which an entry can be known to be zero."""

SIGMAS = 8.0
"""A value fewer standard errors than this away from zero is taken for zero."""


@dataclass(frozen=True)
class Units:
    """All (N, U) units of a stage, as far as their outputs tell.

    Attributes:
        value: Pre-activations; means nothing where not ``known``.
        slope: Derivative of the output by the pre-activation; 0 for silent units.
        std: Standard error of the outputs.
        known: Whether the pre-activation is known.
        inactive: Units whose pre-activation is certainly not positive (a ReLU's zeros where nothing is dropped).
        kept: Per dropout site (N, U) bool, the units that are not silent there.
    """

    value: Tensor
    slope: Tensor
    std: Tensor
    known: Tensor
    inactive: Tensor
    kept: dict[int, Tensor]


def invert(
    unitwise: Sequence[Unitwise],
    outputs: Tensor,
    std: Tensor,
    left: Tensor | None = None,
    caution: float = 1.0,
) -> Units:
    """Undo a stage's activations and dropout.

    Args:
        unitwise: As they are applied.
        outputs: (N, U) what the next stage sees.
        std: (N, U) standard error of that.
        left: (N, U) bool, units below the turning point of their activation; None: none.
        caution: Factor on the size below which a value is taken for zero.
    """
    value, known = outputs, torch.ones_like(outputs, dtype=torch.bool)
    inactive = torch.zeros_like(known)
    steps: list[Tensor] = []
    kept: dict[int, Tensor] = {}
    drops = any(step.activation is None for step in unitwise)
    floor = caution * torch.maximum(SIGMAS * std, ZERO * outputs.abs().max())
    certain = floor < UNCERTAIN * outputs.abs().max()
    for step in reversed(unitwise):
        zero = value.abs() <= floor
        if step.activation is None:
            assert step.site is not None
            known = known & ~zero
            kept[step.site] = known
            value, floor = value / step.factor, floor / step.factor
            steps.append(torch.full_like(value, step.factor))
        elif isinstance(step.activation, nn.ReLU):
            active = value > floor
            if not drops:
                inactive = inactive | (~active & certain)
            known = known & active
            value = torch.where(active, value, torch.zeros_like(value))
        else:
            value = _inverse(step.activation, value, left)
            steps.append(_slope(step.activation, value))
    slope = torch.stack(steps).prod(0) if steps else torch.ones_like(value)
    return Units(value, slope * known, std, known, inactive, kept)


def below_turning_point(unitwise: Sequence[Unitwise], value: Tensor) -> Tensor | None:
    """(N, U) bool, pre-activations on the falling side of a GELU or SiLU; None where all activations rise."""
    activations = [type(step.activation) for step in unitwise if step.activation is not None]
    turns = [TURNING_POINTS[kind] for kind in activations if kind in TURNING_POINTS]
    return value < turns[0] if len(turns) == 1 else None


def _inverse(activation: nn.Module, value: Tensor, left: Tensor | None) -> Tensor:
    """By bisection, on the branch asked for; values that are not taken end at the nearest end of the branch."""
    if isinstance(activation, nn.LeakyReLU):
        return torch.where(value > 0, value, value / activation.negative_slope)
    turn = TURNING_POINTS.get(type(activation), -FURTHEST)
    low, high = torch.full_like(value, turn), torch.full_like(value, FURTHEST)
    rising = torch.ones_like(value, dtype=torch.bool)
    if left is not None and turn > -FURTHEST:
        rising = ~left
        low, high = torch.where(left, -FURTHEST, low), torch.where(left, turn, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = (activation(middle) > value) == rising
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def _slope(activation: nn.Module, value: Tensor) -> Tensor:
    with torch.enable_grad():
        at = value.detach().requires_grad_()
        return torch.autograd.grad(activation(at).sum(), at)[0]
