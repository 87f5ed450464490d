"""The loop that ``ig``, ``wiig`` and ``dia`` share: gradient matching by signed Adam, all victims of a pass at once.

An iteration computes the loss, steps, clips the image to the pixel box and the masks to [0, 1], and keeps the iterate
after the step where the loss before it was a victim's best. Victims that stop leave the batch.
"""

import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from dia.attacks.optimisation import steps
from dia.attacks.optimisation.best_of_starts import outcome_of
from dia.attacks.optimisation.mask_variables import MaskVariables, parametrisation
from dia.attacks.optimisation.objective import indecision, mask_penalty_weight, matching_distance
from dia.attacks.optimisation.pass_size import victims_that_fit
from dia.attacks.optimisation.schedules import annealed
from dia.attacks.optimisation.state import SearchState
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem
from dia.errors import AttackError
from dia.ops.total_variation import total_variation

CHECK_EVERY = {"cpu": 1, "cuda": 20}
"""Iterations between looks at which victims have stopped; a look makes a GPU wait."""


class Observer(Protocol):
    """Told of every iteration; may measure against the truth, which the attack itself never sees."""

    def __call__(self, state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None: ...


class Search:
    """One attack on all victims of a problem, in passes of victims that share a batch.

    Args:
        problem: The victims as the server sees them.
        fixed_masks: Masks used throughout, per site (V, N, *site.shape), on the CPU; where masks are sought, NaN stands
            for an entry that is not fixed. Without masks given or sought dropout is off.
        seeks_masks: Whether masks are optimised together with the image, from where the problem starts them.
        victims_per_chunk: How many share a pass; None chooses by the memory that is free.
        observe: Told of every iteration.
        between: Called with the search before every iteration, when ``ahead``, ``waiting`` and ``done`` hold all there
            is to know: the place for checkpoints. What it raises ends the attack.
        announce: Receives a line where something changes, say a pass that had to be halved.

    Attributes:
        ahead: Passes not begun, the next one last: which start, and which victims (K,). States are large.
        waiting: States of passes begun, the next one last, on the device.
        done: What remains of victims that have stopped, once a start, on the CPU.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        fixed_masks: list[Tensor] | None = None,
        seeks_masks: bool = False,
        victims_per_chunk: int | None = None,
        observe: Observer | None = None,
        between: "Callable[[Search], None]" = lambda search: None,
        announce: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.problem, self.fixed = problem, fixed_masks
        self.observe, self.between, self.announce = observe, between, announce
        self.settings, self.seeks_masks = problem.settings, seeks_masks
        everyone = torch.arange(len(problem))
        self.per_pass = victims_per_chunk or self._victims_that_fit(everyone[:1])
        self.ahead = [
            (restart, victims)
            for restart in range(self.settings.restarts)
            for victims in everyone.split(self.per_pass)
        ][::-1]
        self.waiting: list[SearchState] = []
        self.done: list[SearchState] = []

    @property
    def left(self) -> int:
        """How many victims have not stopped, each counted once a start."""
        return sum(map(len, self.waiting)) + sum(len(victims) for _, victims in self.ahead)

    def _begin(self) -> None:
        """Begin the next pass, with as many victims as one takes."""
        restart, victims = self.ahead[-1]
        state = self._start(restart, victims[: self.per_pass])
        self.ahead.pop()
        if len(state) < len(victims):
            self.ahead.append((restart, victims[self.per_pass :]))
        self.waiting.append(state)

    def _start(self, restart: int, victims: Tensor) -> SearchState:
        problem, device = self.problem.select(victims), self.problem.device
        masks = [mask.to(device) for mask in problem.masks(restart)] if self.seeks_masks else []
        if masks and (fixed := self._fixed_of(victims)):
            masks = _filled(masks, fixed)
        relaxed = parametrisation(self.settings, done=0)
        variables, x = [relaxed.variables(mask) for mask in masks], problem.images(restart).to(device)
        return SearchState.start(problem, victims.to(device), x, variables, relaxed.threshold, restart)

    def _fixed_of(self, victims: Tensor) -> list[Tensor] | None:
        """The fixed masks of some victims ((K,) numbers), on the device; None where none are fixed."""
        at, dtype = self.problem.device, self.problem.dtype
        return self.fixed and [mask[victims.cpu()].to(at, dtype) for mask in self.fixed]

    def _victims_that_fit(self, first: Tensor) -> int:
        """How many share a pass, as measured on the ``first`` victim ((1,) number)."""
        state = self._start(0, first)
        return victims_that_fit(*self._view(state), state, len(self.problem))

    def run(self) -> Outcome:
        """Go on until every victim has stopped.

        Raises:
            AttackError: A loss or its gradient is not finite (names victim and iteration), or one victim alone does
                not fit.
        """
        while self.waiting or self.ahead:
            try:
                if not self.waiting:
                    self._begin()
                self._run_pass()
                continue
            except torch.OutOfMemoryError:
                pass
            self._halve()  # out here, where the exception no longer holds what did not fit
        return outcome_of(self.done, self.settings, self.per_pass, masks_sought=self.seeks_masks)

    def _run_pass(self) -> None:
        """Advance the pass on top of ``waiting``; those who stop move to ``done``, the others stay."""
        view = self._view(self.waiting[-1])
        look_every = CHECK_EVERY.get(self.problem.device.type, 1)
        while True:
            self.between(self)
            state = self.waiting[-1]
            began = time.perf_counter()
            self._iterate(view, state)
            state.seconds += (time.perf_counter() - began) / len(state)
            if state.iteration % look_every and state.iteration < self.settings.max_iterations:
                continue
            self._check_finite(state)
            if not bool(state.going.all()):
                self.done.append(state.select(torch.nonzero(~state.going).flatten()).remains())
                going = torch.nonzero(state.going).flatten()
                rest = state.select(going)
                self.waiting.pop()
                if not len(rest):
                    return
                self.waiting.append(rest)
                problem, fixed = view  # narrowed where it lies: nothing is moved a second time
                view = problem.select(going), fixed and [mask[going] for mask in fixed]

    def _view(self, state: SearchState) -> tuple[Problem, list[Tensor] | None]:
        """What the victims of a pass need of the whole problem, on the device."""
        return self.problem.select(state.victims).placed(), self._fixed_of(state.victims)

    def _iterate(self, view: tuple[Problem, list[Tensor] | None], state: SearchState) -> None:
        """One iteration of all victims of a pass.

        Nothing of ``state`` changes before the gradients are known, so running out of memory there costs nothing.
        """
        relaxed = parametrisation(self.settings, state.iteration / self.settings.max_iterations)
        gradients, total, distance = self._evaluate(view, state, relaxed)
        if self.observe is not None:
            self.observe(state, total, distance)
        try:
            self._step(state, gradients, total, distance, relaxed)
        except torch.OutOfMemoryError as error:
            raise AttackError(
                f"out of memory amid a step; set victims_per_chunk below {len(state)}"
            ) from error

    def _evaluate(
        self, view: tuple[Problem, list[Tensor] | None], state: SearchState, relaxed: MaskVariables
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """The gradients with respect to ``[x, *masks' variables]``, total loss and matching distance (V,)."""
        problem, fixed = view
        settings = self.settings
        x = state.x.detach().requires_grad_()
        optimised = [relaxed.masks(mask) for mask in state.masks]
        if self.seeks_masks and fixed is not None:
            optimised = _filled(optimised, fixed)
        optimised = [mask.detach().requires_grad_() for mask in optimised]
        masks = optimised if self.seeks_masks else fixed
        distance = matching_distance(problem.model, problem.received, x, masks, problem.labels)
        # L-BFGS meets a loss that falls a little by itself meanwhile: it accepts a step the sooner, never later.
        smoothing = annealed(state.iteration / settings.tv_decay_iterations, settings.tv_initial_factor)
        total = distance + settings.tv_weight * smoothing * total_variation(x)
        gradients = list(torch.autograd.grad(total.sum(), [x, *optimised]))
        total, distance = total.detach(), distance.detach()
        if self.seeks_masks:
            with torch.no_grad():
                penalty, slopes = mask_penalty_weight(optimised, problem.rates)
                total = total + problem.mask_penalty_weight * penalty
                if settings.mask_binarisation:
                    undecided, pulls = indecision(optimised)
                    total = total + settings.mask_binarisation * undecided
                    for gradient, pull in zip(gradients[1:], pulls, strict=True):
                        gradient += settings.mask_binarisation * pull
                for number, (mask, slope) in enumerate(zip(optimised, slopes, strict=True), start=1):
                    gradients[number] += problem.mask_penalty_weight * slope.view(-1, *[1] * (mask.dim() - 1))
                    gradients[number] = relaxed.chain(gradients[number], mask)
                    if fixed is not None:
                        gradients[number].masked_fill_(~fixed[number - 1].isnan(), 0)
        return gradients, total, distance

    def _step(
        self,
        state: SearchState,
        gradients: list[Tensor],
        total: Tensor,
        distance: Tensor,
        relaxed: MaskVariables,
    ) -> None:
        """Move images and masks, keep what is best and find out who stops."""
        # Before the step, because the sign of NaN is 0 and the loss would stay finite. 0 times NaN or infinity is NaN,
        # which costs less than half of asking every entry.
        sound = torch.stack([(gradient * 0).flatten(1).sum(1) == 0 for gradient in gradients]).all(0)
        state.bad_gradient |= state.going & torch.isfinite(total) & ~sound
        state.bad_loss |= state.going & ~torch.isfinite(total)
        if state.quasi_newton is not None:
            state.quasi_newton.watch(gradients)
        if steps.uses_lbfgs(self.settings, state.iteration):
            # What was evaluated is kept, as the step from it may be taken back.
            self._keep_best(state, total, distance)
            steps.lbfgs_step(state, gradients, total, self.problem, relaxed)
        else:
            steps.adam_step(state, gradients, total, self.problem, relaxed)
            self._keep_best(state, total, distance)
        self._stop(state)
        steps.round_masks(state, self.settings, relaxed)

    def _keep_best(self, state: SearchState, total: Tensor, distance: Tensor) -> None:
        """Keep the iterates of the victims whose loss was never smaller."""
        better = state.best.step(total, state.iteration, state.going)
        state.best_distance = torch.where(better, distance.to(state.best_distance.dtype), state.best_distance)
        state.best_x = torch.where(better.view(-1, 1, 1, 1, 1), state.x, state.best_x)
        everyone = better.device.type == "cpu" and bool(
            better.all()
        )  # the usual case, in one pass over memory
        for kept, mask in zip(state.best_kept, state.masks, strict=True):
            if everyone:
                torch.gt(mask, state.threshold, out=kept)
            else:
                chosen = better.view(-1, *[1] * (mask.dim() - 1))
                torch.where(chosen, mask > state.threshold, kept, out=kept)

    def _stop(self, state: SearchState) -> None:
        """Count the iteration and mark the victims that it ends for."""
        settings = self.settings
        state.iteration += 1
        stops = (state.best.loss < settings.loss_tolerance) | (
            state.best.waited >= settings.early_stop_patience
        )
        stops |= torch.full_like(stops, state.iteration >= settings.max_iterations)
        state.stopped = torch.where(state.going & stops, state.iteration, state.stopped)
        state.going = state.going & ~stops

    def _check_finite(self, state: SearchState) -> None:
        failed = state.bad_gradient | state.bad_loss
        if bool(failed.any()):
            row = int(torch.nonzero(failed)[0])
            name = self.problem.victim_ids[int(state.victims[row])]
            # A gradient that is not finite soon makes the loss so: it is then the cause.
            what = "gradient of the loss" if state.bad_gradient[row] else "loss"
            raise AttackError(
                f"the {what} of victim {name} is not finite at or shortly before iteration {state.iteration - 1}; "
                "check the model, the client gradient and the learning rate"
            )

    def _halve(self) -> None:
        """After running out of memory: victims of the current pass go on in two passes, those ahead in smaller ones."""
        victims = self.waiting[-1].victims if self.waiting else self.ahead[-1][1][: self.per_pass]
        count = len(victims)
        if count == 1:
            name = self.problem.victim_ids[int(victims[0])]
            raise AttackError(
                f"victim {name} alone does not fit in the device's memory; use a smaller batch_size"
            )
        torch.cuda.empty_cache()
        self.per_pass = (count + 1) // 2
        self.announce(f"out of memory with {count} victims a pass: going on with {self.per_pass}")
        if self.waiting:
            state = self.waiting.pop()
            rows = torch.arange(count, device=victims.device)
            self.waiting += [state.select(rows[self.per_pass :]), state.select(rows[: self.per_pass])]


def _filled(masks: list[Tensor], fixed: list[Tensor]) -> list[Tensor]:
    """The fixed entries, and ``masks`` where those are NaN."""
    return [torch.where(known.isnan(), mask, known) for mask, known in zip(masks, fixed, strict=True)]
