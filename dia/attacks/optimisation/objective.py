"""The loss that an iterative attack minimises, per victim (Geiping et al. 2020, eq. 4; Scheliga et al. 2022, §4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dia.attacks.optimisation.chunk import Chunk, fill_fixed
from dia.attacks.optimisation.mask_variables import MaskVariables
from dia.attacks.optimisation.schedules import geometric_decay
from dia.attacks.optimisation.state import SearchState
from dia.federated.update import ClientUpdate
from dia.gradients.engine import GradientEngine
from dia.gradients.factored import compare
from dia.ops.total_variation import total_variation
from dia.settings.optimisation import CosineEpsilon, SearchSettings
from dia.utils.tensors import flat, per_victim

COSINE_EPSILON = 1e-8
"""Added to ``|g| |g*|``, as in the authors' code (``absolute``), or in units of ``|g*|^2`` (``relative``)."""


@dataclass(frozen=True)
class Evaluation:
    """The loss of V victims at one point.

    Attributes:
        gradient: (V, D), of the total loss with respect to the state's variables.
        total_loss: (V,) with total variation and mask penalty.
        matching_distance: (V,) without.
    """

    gradient: Tensor
    total_loss: Tensor
    matching_distance: Tensor


def tv_weight(settings: SearchSettings, iteration: int) -> float:
    """The weight of the total variation in the loss at iteration ``iteration``, from 0.

    For L-BFGS the loss thus falls a little by itself: it accepts a step the sooner, never later.
    """
    done = iteration / settings.tv_decay_iterations
    return settings.tv_weight * geometric_decay(done, settings.tv_initial_factor)


def evaluate(
    chunk: Chunk, state: SearchState, variables: MaskVariables, tv_weight: Tensor | float
) -> Evaluation:
    """The loss at ``state`` and its gradients; nothing in ``state`` changes.

    Args:
        chunk: The victims.
        state: Where their search is.
        variables: The variables that stand for masks.
        tv_weight: Of the total variation, a number or () on the device.
    """
    problem, fixed = chunk.problem, chunk.fixed_masks
    settings = problem.settings
    x = state.x.detach().requires_grad_()
    masks = [variables.to_masks(mask) for mask in state.masks]
    if masks and fixed is not None:
        masks = fill_fixed(masks, fixed)
    masks = [mask.detach().requires_grad_() for mask in masks]
    distance = matching_distance(
        problem.model, problem.received, x, masks or fixed, problem.labels, settings.cosine_epsilon
    )
    total = distance + tv_weight * total_variation(x)
    of_x, *of_masks = torch.autograd.grad(total.sum(), [x, *masks])
    total, distance = total.detach(), distance.detach()
    if masks:
        penalty, of_masks = _with_mask_penalty(chunk, variables, masks, list(of_masks))
        total = total + penalty
    return Evaluation(flat([of_x, *of_masks]), total, distance)


@torch.no_grad()
def _with_mask_penalty(
    chunk: Chunk, variables: MaskVariables, masks: list[Tensor], gradients: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """The weighted penalty (V,), and the gradients of the total loss with respect to the masks' variables."""
    problem, fixed = chunk.problem, chunk.fixed_masks
    penalty, slopes = mask_penalty(masks, problem.rates)
    slopes = problem.mask_penalty_weight * slopes
    found = []
    for site, (mask, gradient) in enumerate(zip(masks, gradients, strict=True)):
        gradient += per_victim(slopes[site], mask)
        gradient = variables.backward(gradient, mask)
        found.append(gradient if fixed is None else gradient.masked_fill_(~fixed[site].isnan(), 0))
    return problem.mask_penalty_weight * penalty, found


def matching_distance(
    model: GradientEngine,
    received: ClientUpdate,
    x: Tensor,
    masks: Sequence[Tensor] | None,
    labels: Tensor,
    epsilon: CosineEpsilon = "absolute",
) -> Tensor:
    """``1 - <g, g*> / (|g| |g*| + 1e-8)`` over all parameters together, differentiable in ``x`` and ``masks``.

    Args:
        model: The engine of the gradients g.
        received: The clients' gradients g*.
        x: (V, N, C, H, W), normalised.
        masks: Per site (V, N, *site.shape); None switches dropout off.
        labels: (V, N).
        epsilon: ``relative`` adds ``1e-8 |g*|^2`` instead of 1e-8, so that the distance does not depend on the scale
            of the two gradients. The absolute one dominates once ``|g*|`` is below about 1e-4: even ``g = g*`` then
            has the distance ``1e-8 / (|g*|^2 + 1e-8)``.

    Returns:
        (V,); 1, with slope 0, where g is zero (masks that drop everything) or, for ``relative``, where g* is.
    """
    pieces = model.gradients(x, masks, labels, differentiable=True)
    squares, products = compare(pieces, received.pieces)
    # The root has no slope at zero, and a square that is summed from Gram matrices may round to less.
    defined = ~(squares <= 0)
    offset = COSINE_EPSILON * (received.norm.square() if epsilon == "relative" else 1)
    denominator = squares.where(defined, 1).sqrt() * received.norm + offset
    defined = defined & ~(denominator <= 0)
    return (1 - products / denominator.where(defined, 1)).where(defined, 1)


def perfect_match_distance(norm: Tensor, epsilon: CosineEpsilon) -> Tensor:
    """The matching distance (V,) of ``g = g*``, 0 but for the epsilon, for client gradients of these norms (V,)."""
    square = norm.double().square()
    offset = COSINE_EPSILON * (square if epsilon == "relative" else torch.ones_like(square))
    return torch.where(square > 0, offset / (square + offset), 1.0)


def mask_penalty(masks: Sequence[Tensor], rates: Sequence[float]) -> tuple[Tensor, Tensor]:
    """``sum_l |(1 - mean(m_l)) - p_l|``: each layer's mask should drop the share p_l of its entries.

    Returns:
        The penalty (V,), and per layer (layers, V) its derivative with respect to every entry of the layer's mask: all
        entries share it.
    """
    gaps = 1 - torch.stack([mask.flatten(1).mean(1) for mask in masks])
    torch._foreach_sub_(gaps.unbind(), rates)
    slopes = -gaps.sign()
    torch._foreach_div_(slopes.unbind(), [mask[0].numel() for mask in masks])
    return gaps.abs().sum(0), slopes
