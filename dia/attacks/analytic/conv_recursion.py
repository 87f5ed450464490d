r"""Images from the gradient of a convolutional network, from its last layer to its first, dropout on and masks unknown.

The last layer's gradient gives its input and its deltas. From there on down: a layer's input tells which units before it
are silent (dropped, or inactive) and what the others' pre-activations are; with them the deltas of the layer before follow
by backpropagation, and its input is a linear least squares (:mod:`dia.attacks.analytic.layer_equations`).

The recursion is that of R-GAP (Zhu & Blaschko, ICLR 2021, arXiv 2010.07733) and R-CONV (Eltaras et al. 2024, arXiv
2406.04227), which know no dropout; COPA (Chen & Campbell 2021) poses the same constraints as an optimisation. Dropout adds
nothing to solve: a dropped unit is a zero in the next layer's input, like that of a ReLU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dia.attacks.analytic.conv_chain import Stage
from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.layer_equations import NOISE, LayerInput, solve
from dia.attacks.analytic.unit_inverse import Units, invert


@dataclass(frozen=True)
class Head:
    """The last layer taken apart: ``G = sum_n deltas_n inputs_n^T``.

    Attributes:
        inputs: (N, features).
        deltas: (N, classes), of the mean loss over the images.
        factor: By what the gradient was multiplied before it was sent (clipping); 1 for one that was not.
    """

    inputs: Tensor
    deltas: Tensor
    factor: float


@dataclass(frozen=True)
class Recovered:
    """What the recursion ends with.

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


def head_of_one_image(stage: Stage, weight: Tensor, bias: Tensor | None, label: int) -> Head:
    """The last layer's input and deltas for one image.

    The weight gradient has rank one, so both are known up to a scalar; it is that of the bias, whose gradient is the deltas,
    or else the one for which ``softmax - onehot`` has the deltas' direction.

    Raises:
        NotApplicable: The gradient is zero, or no scale is better than the others.
    """
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    if not float(values[0]) > 0:
        raise NotApplicable(f"the gradient of {stage.name}.weight is zero")
    direction, deltas = right[0], left[:, 0] * values[0]
    if float(deltas[label]) > 0:
        direction, deltas = -direction, -deltas
    along = stage.layer.weight.double() @ direction
    offset = torch.zeros_like(along) if stage.layer.bias is None else stage.layer.bias.double()
    onehot = F.one_hot(torch.tensor(label, device=along.device), len(along))

    def model_deltas(sizes: Tensor) -> Tensor:
        return (sizes[:, None] * along + offset).softmax(1) - onehot

    if bias is not None:
        size = float((deltas @ deltas) / (deltas @ bias))
    else:
        size = _size(deltas, model_deltas)
    own = model_deltas(weight.new_tensor([size]))[0]
    received = deltas / size
    return Head(size * direction[None], own[None], float(received @ own / own.square().sum()))


def _size(deltas: Tensor, model_deltas) -> float:  # type: ignore[no-untyped-def]
    """The length of the input for which the model's deltas have the direction of those received."""
    low, high = -9.0, 9.0  # of its logarithm
    target = F.normalize(deltas, dim=0)
    for _ in range(12):
        tried = torch.linspace(low, high, 201, dtype=deltas.dtype, device=deltas.device)
        sine = (F.normalize(model_deltas(tried.exp()), dim=1) - target).square().sum(1)
        best, width = float(tried[sine.argmin()]), (high - low) / 200
        low, high = best - 2 * width, best + 2 * width
    if float(sine.min()) > 1e-6:
        raise NotApplicable("no scale of the last layer's input explains its gradient")
    return float(torch.tensor(best).exp())


def recover(stages: Sequence[Stage], gradients: Mapping[str, Tensor], head: Head, image_scale: float) -> Recovered:
    """Go from the last layer to the first.

    Args:
        stages: The chain.
        gradients: What was received of every stage's weight, float64.
        head: The last layer taken apart.
        image_scale: Standard deviation that the pixels have before anything is known of them.
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
        stage = stages[number]
        behind = layers[0]
        of_units = invert(stage.unitwise, behind.value.flatten(1), behind.std.flatten(1))
        at_outputs, at_inputs = stage.pull_back(deltas.flatten(1) * of_units.slope)
        weight = gradients[f"{stage.name}.weight"] / head.factor
        scale = image_scale if number == 0 else None
        found = solve(stage, _as_convolution(weight), at_outputs, of_units, reached[number], scale)
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
