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
    """Whether iteration ``iteration``, from 0, makes an L-BFGS step."""
    return settings.lbfgs_start_iteration is not None and iteration >= settings.lbfgs_start_iteration


def adam_step(
    state: SearchState,
    gradients: list[Tensor],
    total_loss: Tensor,
    problem: Problem,
    variables: MaskVariables,
) -> None:
    """Adam on the images (by the signs of their gradients, where set) and the masks' variables, then the constraints.

    Args:
        state: Changed in place.
        gradients: Of ``[x, *masks]``, (V, ...) each.
        total_loss: (V,), for the schedule of learning rates.
        problem: Its settings and its pixel box.
        variables: The variables that stand for masks.
    """
    settings, plateau = problem.settings, state.plateau
    of_image, *of_masks = gradients
    if settings.signed_gradients:
        of_image = of_image.sign()
    masks_factor = (settings.mask_learning_rate or settings.learning_rate) / settings.learning_rate
    lrs = [plateau.lr, *[plateau.lr * masks_factor] * len(of_masks)]
    for value, gradient, exp_avg, exp_avg_sq, lr in zip(
        [state.x, *state.masks], [of_image, *of_masks], state.exp_avg, state.exp_avg_sq, lrs, strict=True
    ):
        adam.step(value, gradient, exp_avg, exp_avg_sq, state.iteration + 1, lr, settings.adam_beta2)
    torch.clamp(state.x, problem.low, problem.high, out=state.x)
    for mask in state.masks:
        mask.clamp_(*variables.bounds)
    if settings.learning_rate_schedule == "cosine":
        done = (state.iteration + 1) / settings.max_iterations
        plateau.lr.fill_(cosine(done, settings.learning_rate, settings.final_learning_rate))
    else:
        plateau.step(total_loss, settings.plateau_factor, settings.plateau_patience)


def lbfgs_step(
    state: SearchState,
    gradients: list[Tensor],
    total_loss: Tensor,
    problem: Problem,
    variables: MaskVariables,
) -> None:
    """L-BFGS on images and masks' variables together; arguments as for :func:`adam_step`."""
    assert state.lbfgs is not None
    low, high = (state.x.new_full((), bound) for bound in variables.bounds)
    state.lbfgs.step(
        [state.x, *state.masks],
        gradients,
        total_loss,
        [(problem.low, problem.high), *[(low, high)] * len(state.masks)],
        max_step=problem.settings.learning_rate,
        history_size=problem.settings.lbfgs_history_size,
    )
