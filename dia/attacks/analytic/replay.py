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
