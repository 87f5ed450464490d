"""One iteration of all victims of a chunk: step, best iterate, who stops."""

import torch
from torch import Tensor

from dia.attacks.optimisation import steps
from dia.attacks.optimisation.mask_variables import MaskVariables
from dia.attacks.optimisation.objective import Evaluation
from dia.attacks.optimisation.state import SearchState
from dia.attacks.problem import Problem
from dia.settings.optimisation import SearchSettings
from dia.utils.tensors import per_victim


def advance(state: SearchState, found: Evaluation, problem: Problem, variables: MaskVariables) -> None:
    """Move images and masks, keep the best iterates and find out which victims stop; changes ``state`` in place."""
    settings, total_loss = problem.settings, found.total_loss
    # Before the step, because the sign of NaN is 0 and the loss would stay finite.
    finite = torch.stack([_is_finite_per_victim(gradient) for gradient in found.gradients]).all(0)
    state.bad_gradient |= state.active & torch.isfinite(total_loss) & ~finite
    state.bad_loss |= state.active & ~torch.isfinite(total_loss)
    if state.lbfgs is not None:
        state.lbfgs.update_diagonal(found.gradients)
    if steps.uses_lbfgs(settings, state.iteration):
        # The best iterate is the one evaluated, as the step from it may be taken back.
        _keep_best(state, found)
        steps.lbfgs_step(state, found.gradients, total_loss, problem, variables)
    else:
        steps.adam_step(state, found.gradients, total_loss, problem, variables)
        _keep_best(state, found)
    _stop(state, settings)


def _is_finite_per_victim(gradient: Tensor) -> Tensor:
    """(V,) bool. 0 times NaN or infinity is NaN, which costs less than half of asking every entry."""
    return (gradient * 0).flatten(1).sum(1) == 0


def _keep_best(state: SearchState, found: Evaluation) -> None:
    """Keep the iterates of the victims whose loss was never smaller."""
    better = state.best.step(found.total_loss, state.iteration, state.active)
    distance = found.matching_distance.to(state.best_distance.dtype)
    state.best_distance = torch.where(better, distance, state.best_distance)
    state.best_x = torch.where(better.view(-1, 1, 1, 1, 1), state.x, state.best_x)
    # The usual case, in one pass over memory; on a GPU the question itself would make it wait.
    all_better = better.device.type == "cpu" and bool(better.all())
    for best, mask in zip(state.best_masks, state.masks, strict=True):
        if all_better:
            torch.gt(mask, state.threshold, out=best)
        else:
            chosen = per_victim(better, mask)
            torch.where(chosen, mask > state.threshold, best, out=best)


def _stop(state: SearchState, settings: SearchSettings) -> None:
    """Count the iteration and mark the victims that it ends for."""
    state.iteration += 1
    stops = (state.best.loss < settings.loss_tolerance) | (state.best.waited >= settings.early_stop_patience)
    stops |= torch.full_like(stops, state.iteration >= settings.max_iterations) | state.failed
    state.stopped_at = torch.where(state.active & stops, state.iteration, state.stopped_at)
    state.active = state.active & ~stops
