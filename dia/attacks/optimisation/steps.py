"""The step that one iteration makes with images and masks: Adam, as in the paper, or L-BFGS."""

import torch
from torch import Tensor

from dia.attacks.optimisation import adam
from dia.attacks.optimisation.mask_variables import MaskVariables
from dia.attacks.optimisation.schedules import cosine
from dia.attacks.optimisation.state import SearchState
from dia.attacks.problem import Problem
from dia.settings.optimisation import SearchSettings


def uses_lbfgs(settings: SearchSettings, iteration: int) -> bool:
    """Tell whether iteration ``iteration``, from 0, makes an L-BFGS step."""
    return settings.lbfgs_start_iteration is not None and iteration >= settings.lbfgs_start_iteration


def adam_step(
    state: SearchState, gradient: Tensor, total_loss: Tensor, problem: Problem, variables: MaskVariables
) -> None:
    """Adam on the images (by the signs of their gradients, where set) and the masks' variables, then the constraints.

    Args:
        state: Changed in place.
        gradient: (V, D), of all variables.
        total_loss: (V,), for the schedule of learning rates.
        problem: Its settings and its pixel box.
        variables: The variables that stand for masks.
    """
    settings, plateau = problem.settings, state.plateau
    pixels = state.sizes[0]
    image, masks = slice(None, pixels), slice(pixels, None)
    if settings.signed_gradients:
        gradient[:, image].sign_()
    masks_lr = plateau.lr * ((settings.mask_learning_rate or settings.learning_rate) / settings.learning_rate)
    for part, lr in ((image, plateau.lr), (masks, masks_lr)):
        value, of_value, exp_avg, exp_avg_sq = (
            t[:, part] for t in (state.variables, gradient, state.exp_avg, state.exp_avg_sq)
        )
        adam.step(value, of_value, exp_avg, exp_avg_sq, state.iteration + 1, lr, settings.adam_beta2)
    torch.clamp(state.x, problem.low, problem.high, out=state.x)
    state.mask_variables.clamp_(*variables.bounds)
    if settings.learning_rate_schedule == "cosine":
        done = (state.iteration + 1) / settings.max_iterations
        plateau.lr.fill_(cosine(done, settings.learning_rate, settings.final_learning_rate))
    else:
        plateau.step(total_loss, settings.plateau_factor, settings.plateau_patience)


def lbfgs_step(
    state: SearchState, gradient: Tensor, total_loss: Tensor, problem: Problem, variables: MaskVariables
) -> None:
    """L-BFGS on images and masks' variables together; arguments as for :func:`adam_step`."""
    assert state.lbfgs is not None
    boxes = ((problem.low, problem.high), variables.bounds)
    masks = state.mask_variables[0]
    low, high = (
        torch.cat([of_pixels.expand(state.shapes[0]).flatten(), torch.full_like(masks, of_masks)])
        for of_pixels, of_masks in zip(*boxes, strict=True)
    )
    state.lbfgs.step(
        state.variables,
        gradient,
        total_loss,
        (low, high),
        sizes=state.sizes,
        max_step=problem.settings.learning_rate,
    )
