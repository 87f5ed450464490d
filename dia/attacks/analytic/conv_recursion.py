r"""Images from the gradient of a convolutional network, from its last layer to its first, dropout on and masks
unknown.

The last layer's gradient gives its input and its deltas. From there on down: a layer's input tells which units
before it are silent (dropped, or inactive) and what the others' pre-activations are; with them the deltas of the
layer before follow by backpropagation, and its input is a linear least squares
(:mod:`dia.attacks.analytic.layer_equations`).

The recursion is that of R-GAP (Zhu & Blaschko, ICLR 2021, arXiv 2010.07733) and R-CONV (Eltaras et al. 2024, arXiv
2406.04227), which know no dropout; COPA (Chen & Campbell 2021) poses the same constraints as an optimisation.
Dropout adds nothing to solve: a dropped unit is a zero in the next layer's input, like that of a ReLU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dia.attacks.analytic.conv_chain import Stage
from dia.attacks.analytic.layer_equations import NOISE, LayerInput, solve
from dia.attacks.analytic.network_head import Head
from dia.attacks.analytic.unit_inverse import Units, below_turning_point, invert

BRANCH_ROUNDS = 5
"""Number of times that the pre-activations of a GELU's negative outputs are read again from the input just found."""


@dataclass(frozen=True)
class Recovered:
    """The end of the recursion.

    Attributes:
        image: The first layer's input.
        layers: The inputs of all layers, from the first.
        units: Behind every layer but the last, from the first.
    """

    image: LayerInput
    layers: list[LayerInput]
    units: list[Units]

    def kept(self, site: int) -> Tensor:
        """(N, U) the units that are not silent behind a dropout site."""
        return next(units.kept[site] for units in self.units if site in units.kept)


def recover(
    stages: Sequence[Stage],
    gradients: Mapping[str, Tensor],
    head: Head,
    image_scale: float,
    caution: float = 1.0,
) -> Recovered:
    """Go from the last layer to the first.

    Args:
        stages: The chain.
        gradients: What was received of every stage's weight, float64.
        head: The last layer taken apart.
        image_scale: Standard deviation that the pixels have before anything is known of them.
        caution: As for :func:`~dia.attacks.analytic.unit_inverse.invert`.
    """
    last = stages[-1]
    shape = (len(head.inputs), *last.input_shape)
    level = NOISE * float(head.inputs.square().mean().sqrt())
    std = head.inputs.new_full(shape, level)
    known = torch.ones(shape, dtype=torch.bool, device=std.device)
    layers = [LayerInput(head.inputs.view(shape), std, known, std.numel(), std.numel())]
    units: list[Units] = []
    deltas = last.pull_back(head.deltas)[1]
    reached = seen_inputs(stages)
    for number in range(len(stages) - 2, -1, -1):
        stage, (outputs, std) = stages[number], (layers[0].value.flatten(1), layers[0].std.flatten(1))
        weight = _as_convolution(gradients[f"{stage.name}.weight"] / head.factor)
        scale = image_scale if number == 0 else None
        left: Tensor | None = None
        for _ in range(BRANCH_ROUNDS):
            of_units = invert(stage.unitwise, outputs, std, left, caution)
            at_outputs, at_inputs = stage.pull_back(deltas.flatten(1) * of_units.slope)
            found = solve(stage, weight, at_outputs, of_units, reached[number], scale)
            below = below_turning_point(stage.unitwise, stage.units(found.value))
            if below is None or torch.equal(below, torch.zeros_like(below) if left is None else left):
                break
            left = below
        layers.insert(0, found)
        units.insert(0, of_units)
        deltas = at_inputs
    return Recovered(layers[0], layers, units)


def seen_inputs(stages: Sequence[Stage]) -> list[Tensor]:
    """Of every stage, (H W,) bool, the pixels of its input on which the logits depend at all."""
    reached: list[Tensor] = []
    units = torch.ones_like(stages[-1].offset(), dtype=torch.bool)
    for stage in reversed(stages):
        reached.insert(0, stage.reach(units))
        units = reached[0].repeat(stage.input_shape[0])
    return reached


def _as_convolution(weight: Tensor) -> Tensor:
    return weight if weight.dim() == 4 else weight[:, :, None, None]
