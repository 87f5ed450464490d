"""The certificate of a reconstruction: replayed through the model, it gives the gradient that was received."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dia.attacks.problem import Problem

REPLAYED = 1e-4
"""Largest relative error of a parameter's replayed gradient (float32 rounding stays below 1e-5)."""


@torch.no_grad()
def replay_error(
    problem: Problem, victim: int, x: Tensor, masks: Sequence[Tensor], factor: float = 1.0
) -> float:
    """The largest relative error, over the parameters, of the gradient that images and masks give.

    Args:
        problem: The problem.
        victim: Its number.
        x: (N, C, H, W).
        masks: Per site (N, *site.shape).
        factor: By what the received gradient was multiplied.
    """
    like = next(problem.model.model.parameters())
    labels = problem.labels[victim][None].to(like.device)
    pieces = problem.model.gradients(
        x[None].to(like), [mask[None].to(like) for mask in masks], labels, differentiable=False
    )
    worst = 0.0
    for name in problem.received.pieces:
        received = problem.gradient(victim, name).double()
        if name not in pieces or not bool(received.any()):
            continue
        error = (pieces[name].dense()[0].double() * factor - received).norm()
        worst = max(worst, float(error / received.norm()))
    return worst


UNEXPLAINED = 1e-3
"""Largest unexplained rest of a parameter's gradient, relative to the smallest part that an image claims of it.
Set in a gap measured on a small sample: in float32 correct batches left 3e-7 to 3e-5 (more where there is noise), wrong
ones 2.6 or more, apart from the mirrored image (:func:`dia.attacks.analytic.chain_certificate.is_mirrored`)."""

SCALED = 30
"""By how much more exact a replay has to be where the received gradient was scaled: an unknown factor hides most of an
error of the images' scale."""


@torch.no_grad()
def unexplained(problem: Problem, victim: int, x: Tensor, masks: Sequence[Tensor], labels: Tensor) -> Tensor:
    """(R,) what the images leave of the received gradient, relative to each image's own part of it.

    An image with a confident prediction has a small part, behind which a wrong image would hide: so the rest is
    compared with every image's part, for every parameter by itself, and the worst ratio counts. The
    gradient may have been scaled as a whole (clipping).

    Args:
        problem: The problem.
        victim: Its number.
        x: (R, C, H, W) images; those of the batch that are not among them must contribute nothing.
        masks: Per site (R, *site.shape).
        labels: (R,) classes.
    """
    like = next(problem.model.model.parameters())
    pieces = problem.model.gradients(
        x[:, None].to(like),
        [m[:, None].to(like) for m in masks],
        labels[:, None].to(like.device),
        differentiable=False,
    )
    replayed = {name: piece.dense().double().flatten(1) for name, piece in pieces.items()}
    received = {name: problem.gradient(victim, name).double().flatten() for name in problem.received.pieces}
    total = {name: parts.sum(0) for name, parts in replayed.items()}
    square = sum(float(total[name].square().sum()) for name in received if name in total)
    product = sum(float(total[name] @ received[name]) for name in received if name in total)
    factor = product / square if square else 0.0
    common = [name for name in received if name in total]

    def worst(factor: float) -> Tensor:
        ratios = torch.zeros(len(x), dtype=torch.float64)
        for name in common:
            rest = (factor * total[name] - received[name]).norm()
            ratio = rest / (factor * replayed[name].norm(dim=1))
            ratio = torch.where(rest == 0, torch.zeros_like(ratio), ratio)
            ratios = torch.maximum(ratios, ratio.nan_to_num(torch.inf).cpu())
        return ratios

    unscaled = worst(1 / problem.labels.shape[1])
    return torch.minimum(unscaled, SCALED * worst(factor)) if factor > 0 else unscaled
