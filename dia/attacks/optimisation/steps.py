"""How one iteration moves images and masks: Adam, as in the paper, or L-BFGS."""

import torch
from torch import Tensor

from dia.attacks.optimisation import adam
from dia.attacks.optimisation.mask_variables import MaskVariables
from dia.attacks.optimisation.schedules import cosine
from dia.attacks.optimisation.state import SearchState
from dia.attacks.problem import Problem
from dia.settings.optimisation import SearchSettings


def uses_lbfgs(settings: SearchSettings, iteration: int) -> bool:
    """Whether iteration ``iteration``, from 0, makes a quasi-Newton step."""
    return settings.lbfgs_start_iteration is not None and iteration >= settings.lbfgs_start_iteration


def adam_step(
    state: SearchState,
    gradients: list[Tensor],
    total: Tensor,
    problem: Problem,
    parametrisation: MaskVariables,
) -> None:
    """Adam on the images (by the signs of their gradients, where set) and the masks' variables, then the constraints.

    Args:
        state: Changed in place.
        gradients: Of ``[x, *masks]``.
        total: (V,) losses, for the schedule of learning rates.
        problem: Its settings and its pixel box.
        parametrisation: What the variables are.
    """
    settings = problem.settings
    masks_rate = (settings.mask_learning_rate or settings.learning_rate) / settings.learning_rate
    signed = (settings.signed_gradients, settings.signed_mask_gradients)
    numbers = _numbers(state.iteration, settings.alternate_every)
    variables = zip([state.x, *state.masks], gradients, state.first, state.second, strict=True)
    for place, (value, gradient, first, second) in enumerate(variables):
        group = min(place, 1)  # the image, or masks
        if numbers[group] is None:
            continue
        if signed[group]:
            gradient = gradient.sign()
        rate = state.plateau.rate * masks_rate if group else state.plateau.rate
        adam.step(value, gradient, first, second, numbers[group], rate, settings.adam_beta2)  # type: ignore[arg-type]
    torch.clamp(state.x, problem.low, problem.high, out=state.x)
    for mask in state.masks:
        mask.clamp_(*parametrisation.box)
    if settings.learning_rate_schedule == "cosine":
        done = (state.iteration + 1) / settings.max_iterations
        state.plateau.rate.fill_(cosine(done, settings.learning_rate, settings.final_learning_rate))
    else:
        state.plateau.step(total, settings.plateau_factor, settings.plateau_patience)


def lbfgs_step(
    state: SearchState,
    gradients: list[Tensor],
    total: Tensor,
    problem: Problem,
    parametrisation: MaskVariables,
) -> None:
    """L-BFGS on images and masks' variables together; arguments as for :func:`adam_step`."""
    assert state.quasi_newton is not None
    masks_box = [torch.tensor(bound).to(total.device, state.x.dtype) for bound in parametrisation.box]
    state.quasi_newton.step(
        [state.x, *state.masks],
        gradients,
        total,
        [(problem.low, problem.high), *[(masks_box[0], masks_box[1])] * len(state.masks)],
        longest=problem.settings.learning_rate,
        memory=problem.settings.lbfgs_history_size,
    )


def round_masks(state: SearchState, settings: SearchSettings, parametrisation: MaskVariables) -> None:
    """Round the masks once, when the share ``mask_rounding`` of the iterations is done."""
    share = settings.mask_rounding
    if share is None or not state.masks or state.iteration != round(share * settings.max_iterations):
        return
    for mask, kept in zip(state.masks, state.kept(), strict=True):
        mask.copy_(parametrisation.variables(kept.to(mask)))
    if state.quasi_newton is not None:
        state.quasi_newton.forget()


def _numbers(iteration: int, every: int) -> tuple[int | None, int | None]:
    """Which step, from 1, an iteration is for the image and for the masks; None where it is not their turn."""
    if not every:
        return iteration + 1, iteration + 1
    cycle, within = divmod(iteration, 2 * every)
    before = cycle * every
    return (before + within + 1, None) if within < every else (None, before + within - every + 1)
