"""The certificate of a reconstruction: replayed through the model, it gives the gradient that was received.

A wrong solution misses every surplus equation by about the size of the gradient itself. To stay below a share s of that
in E of them at once has a probability of about ``s ** E``, and a network has hundreds (:func:`is_overdetermined` asks
for enough). The rest that rounding or noise leaves is then a question of accuracy alone: how far could it move the
images?
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dia.attacks.problem import Problem
from dia.gradients.factored import FactoredGradient, ParameterGradient, compare_parameter
from dia.models.parameters import reference_parameter

ACCURATE = 1e-3
"""Largest error of an image that is claimed, relative to its length."""

UNEXPLAINED = 1e-2
"""Largest unexplained rest of a parameter's gradient, relative to the smallest part that an image claims of it."""

FALSE_MATCH = 1e-9
"""Largest probability that a wrong solution among all that were tried explains the gradient by chance."""

STRETCH = 1.05
"""Factor on the images by which their replay's dependence on their scale is measured."""


def is_overdetermined(equations: int, unknowns: int, tries: int) -> bool:
    """Tell whether so many equations, all satisfied to ``UNEXPLAINED``, exclude a match by chance in so many tries."""
    needed = math.log(tries / FALSE_MATCH) / -math.log(UNEXPLAINED)
    return equations - unknowns >= needed


class Replay(NamedTuple):
    """The gradient that images, masks and labels give, against the received one.

    Attributes:
        parts: Each image's own gradient by parameter (R "victims" of one image).
        rest: Received minus the images' sum, by parameter, float64.
        factor: By what the sum of their gradients was multiplied: 1 / N, or what fits best.
        unexplained: (R,) the largest rest of a parameter's gradient relative to the image's part of it.
        hidden: (R,) by how much, relatively, the images' scale may be off without a larger rest; larger than
            ``unexplained`` where the received gradient was scaled by an unknown factor (clipping).
    """

    parts: Mapping[str, ParameterGradient]
    rest: Mapping[str, Tensor]
    factor: float
    unexplained: Tensor
    hidden: Tensor

    @property
    def holds(self) -> bool:
        """Tell whether the images explain the gradient, to the accuracy of a claim."""
        return bool((self.unexplained <= UNEXPLAINED).all() and (self.hidden <= ACCURATE).all())


@torch.no_grad()
def replay(problem: Problem, victim: int, x: Tensor, masks: Sequence[Tensor], labels: Tensor) -> Replay:
    """Compare the gradient of images with the received one.

    An image with a confident prediction has a small part, behind which a wrong image would hide: so the rest is
    compared with every image's part, for every parameter by itself, and the worst ratio counts.

    Args:
        problem: The problem.
        victim: Its number.
        x: (R, C, H, W) images; those of the batch that are not among them must contribute nothing.
        masks: Per site (R, *site.shape).
        labels: (R,) classes.
    """
    parts = _parts(problem, x, masks, labels)
    received = {name: problem.gradient(victim, name).double() for name in problem.received.pieces}
    total = {name: _sum(parts[name]) for name in received if name in parts}
    found = _against(received, parts, total, 1 / problem.labels.shape[1])
    if bool((found.unexplained <= UNEXPLAINED).all()):
        return found
    square = sum(float(value.square().sum()) for value in total.values())
    factor = sum(float((value * received[name]).sum()) for name, value in total.items()) / (square or 1.0)
    scaled = _against(received, parts, total, factor) if factor > 0 else found
    if not bool((scaled.unexplained <= UNEXPLAINED).all()):
        return found
    turned = _sine(parts, _parts(problem, x * STRETCH, masks, labels)) / (STRETCH - 1)
    return scaled._replace(hidden=scaled.unexplained / turned.clamp_max(1))


def have_same_gradients(
    problem: Problem, found: Replay, x: Tensor, masks: Sequence[Tensor], labels: Tensor
) -> Tensor:
    """(R,) whether other images replay as well as those that were; arguments as for :func:`replay`."""
    other, worst = _parts(problem, x, masks, labels), torch.zeros(len(x), dtype=torch.float64)
    for name, part in found.parts.items():
        if name not in found.rest:
            continue
        square, product = (value.double().cpu() for value in compare_parameter(other[name], part))
        own = part.square_norm().double().cpu()
        ratio = ((square - 2 * product + own).clamp_min(0) / own).sqrt()
        worst = torch.maximum(worst, ratio.nan_to_num(0.0))
    return worst <= UNEXPLAINED


def _parts(
    problem: Problem, x: Tensor, masks: Sequence[Tensor], labels: Tensor
) -> dict[str, ParameterGradient]:
    like = reference_parameter(problem.model.model)
    return problem.model.gradients(
        x[:, None].to(like),
        [mask[:, None].to(like) for mask in masks],
        labels[:, None].to(like.device),
        differentiable=False,
    )


def _sum(piece: ParameterGradient) -> Tensor:
    """The images' gradients added up (float64), of factors without forming them one by one."""
    if not isinstance(piece, FactoredGradient):
        return piece.dense().double().sum(0)
    deltas, inputs = (t.double().transpose(0, 1).flatten(1, 2)[None] for t in (piece.deltas, piece.inputs))
    return FactoredGradient(deltas, inputs, piece.shape).dense()[0]


def _against(
    received: Mapping[str, Tensor],
    parts: Mapping[str, ParameterGradient],
    total: Mapping[str, Tensor],
    factor: float,
) -> Replay:
    """The images' gradient times a factor against the received one."""
    rest = {name: received[name] - factor * value for name, value in total.items()}
    worst = torch.zeros(next(iter(parts.values())).square_norm().shape, dtype=torch.float64)
    for name, value in rest.items():
        if bool((value == 0).all()):
            continue
        ratio = value.norm() / (factor * parts[name].square_norm().double().sqrt())
        worst = torch.maximum(worst, ratio.nan_to_num(torch.inf).cpu())
    return Replay(parts, rest, factor, worst, torch.zeros_like(worst))


def _sine(one: Mapping[str, ParameterGradient], other: Mapping[str, ParameterGradient]) -> Tensor:
    """(R,) of the angle between two gradients of each image."""
    square, product, own = (torch.zeros(()) for _ in range(3))
    for name, piece in other.items():
        terms = compare_parameter(piece, one[name])
        square, product, own = square + terms[0], product + terms[1], own + one[name].square_norm()
    return (1 - product.square() / (square * own)).clamp_min(0).sqrt().double().cpu()
