"""One iteration of all victims of a chunk: step, best iterate, who stops."""

import torch
from torch import Tensor

from dia.attacks.optimisation import steps
from dia.attacks.optimisation.blocks import blocks
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
    finite = _is_finite_per_victim(found.gradient)
    state.bad_gradient |= state.active & torch.isfinite(total_loss) & ~finite
    state.bad_loss |= state.active & ~torch.isfinite(total_loss)
    if state.lbfgs is not None:
        state.lbfgs.update_diagonal(found.gradient)
    if steps.uses_lbfgs(settings, state.iteration):
        # The best iterate is the one evaluated, as the step from it may be taken back.
        _keep_best(state, found)
        steps.lbfgs_step(state, found.gradient, total_loss, problem, variables)
    else:
        steps.adam_step(state, found.gradient, total_loss, problem, variables)
        _keep_best(state, found)
    _stop(state, settings)


def _is_finite_per_victim(gradient: Tensor) -> Tensor:
    """(V,) bool, of (V, D). 0 times NaN or infinity is NaN, which costs less than half of asking every entry."""
    sums = gradient.new_zeros(len(gradient), 1)
    for part, found in blocks(gradient, sums):
        found += (part * 0).sum(1, keepdim=True)
    return sums[:, 0] == 0


def _keep_best(state: SearchState, found: Evaluation) -> None:
    """Keep the iterates of the victims whose loss was never smaller."""
    better = state.best.step(found.total_loss, state.iteration, state.active)
    distance = found.matching_distance.to(state.best_distance.dtype)
    state.best_distance = torch.where(better, distance, state.best_distance)
    state.best_x = torch.where(per_victim(better, state.best_x), state.x, state.best_x)
    # The usual case, in one pass over memory; on a GPU the question itself would make it wait.
    if better.device.type == "cpu" and bool(better.all()):
        torch.gt(state.mask_variables, state.threshold, out=state.best_kept)
    else:
        kept = state.mask_variables > state.threshold
        torch.where(better[:, None], kept, state.best_kept, out=state.best_kept)


def _stop(state: SearchState, settings: SearchSettings) -> None:
    """Count the iteration and mark the victims that it ends for."""
    state.iteration += 1
    stops = (state.best.loss < settings.loss_tolerance) | (state.best.waited >= settings.early_stop_patience)
    stops |= torch.full_like(stops, state.iteration >= settings.max_iterations) | state.failed
    state.stopped_at = torch.where(state.active & stops, state.iteration, state.stopped_at)
    state.active = state.active & ~stops
