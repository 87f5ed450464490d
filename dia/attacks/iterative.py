"""The loop that ``ig``, ``wiig`` and ``dia`` share: gradient matching by signed Adam, all victims of a pass at once.

An iteration computes the loss, steps, clips the image to the pixel box and the masks to [0, 1], and keeps the iterate
after the step where the loss before it was a victim's best. Victims that stop leave the batch.
"""

import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from dia.attacks import adam
from dia.attacks.masks import PARAMETRISATIONS
from dia.attacks.memory import victims_that_fit
from dia.attacks.objective import mask_penalty, matching_distance
from dia.attacks.outcome import Outcome, outcome_of
from dia.attacks.problem import Problem
from dia.attacks.state import State
from dia.errors import AttackError
from dia.ops.total_variation import total_variation

CHECK_EVERY = {"cpu": 1, "cuda": 20}
"""Iterations between looks at which victims have stopped; a look makes a GPU wait."""


class Observer(Protocol):
    """Told of every iteration; may measure against the truth, which the attack itself never sees."""

    def __call__(self, state: State, total_loss: Tensor, matching_distance: Tensor) -> None: ...


class Search:
    """One attack on all victims of a problem, in passes of victims that share a batch.

    Args:
        problem: The victims as the server sees them.
        fixed_masks: Masks used throughout, per site (V, N, *site.shape); where masks are sought, NaN stands for an
            entry that is not fixed. Without masks given or sought dropout is off.
        seeks_masks: Whether masks are optimised together with the image, from where the problem starts them.
        victims_per_pass: How many share a pass; None chooses by the memory that is free.
        observe: Told of every iteration.
        between: Called with the search before every iteration, when ``ahead``, ``waiting`` and ``done`` hold all there
            is to know: the place for checkpoints. What it raises ends the attack.
        announce: Receives a line where something changes, say a pass that had to be halved.

    Attributes:
        ahead: Passes not begun, the next one last: which start, and which victims (K,). States are large.
        waiting: States of passes begun, the next one last.
        done: States of victims that have stopped, once a start, without the optimiser's moments.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        fixed_masks: list[Tensor] | None = None,
        seeks_masks: bool = False,
        victims_per_pass: int | None = None,
        observe: Observer | None = None,
        between: "Callable[[Search], None]" = lambda search: None,
        announce: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.problem, self.fixed = problem, fixed_masks
        self.observe, self.between, self.announce = observe, between, announce
        self.settings, self.seeks_masks = problem.settings, seeks_masks
        self.parametrisation = PARAMETRISATIONS[self.settings.mask_parametrisation]
        fixed, sought = (None, problem.initial_masks) if seeks_masks else (fixed_masks, [])
        self.per_pass = victims_per_pass or victims_that_fit(problem, fixed, sought)
        everyone = torch.arange(len(problem), device=problem.x0.device)
        self.ahead = [
            (restart, victims)
            for restart in range(self.settings.restarts)
            for victims in everyone.split(self.per_pass)
        ][::-1]
        self.waiting: list[State] = []
        self.done: list[State] = []

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

    def _start(self, restart: int, victims: Tensor) -> State:
        problem = self.problem.select(victims)
        x, masks = problem.start(restart)
        if self.seeks_masks and self.fixed is not None:
            masks = _filled(masks, [mask[victims] for mask in self.fixed])
        variables = [self.parametrisation.variables(mask) for mask in masks] if self.seeks_masks else []
        return State.start(problem, victims, x, variables, self.parametrisation.threshold, restart)

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
            except torch.OutOfMemoryError:
                self._halve()
        return outcome_of(self.done, self.settings, self.per_pass, masks_sought=self.seeks_masks)

    def _run_pass(self) -> None:
        """Advance the pass on top of ``waiting``; those who stop move to ``done``, the others stay."""
        view = self._view()
        look_every = CHECK_EVERY.get(self.problem.x0.device.type, 1)
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
                self.done.append(state.select(torch.nonzero(~state.going).flatten()).without_moments())
                rest = state.select(torch.nonzero(state.going).flatten())
                self.waiting.pop()
                if not len(rest):
                    return
                self.waiting.append(rest)
                view = self._view()

    def _view(self) -> tuple[Problem, list[Tensor] | None]:
        """What the victims of the current pass need of the whole problem."""
        victims = self.waiting[-1].victims
        return self.problem.select(victims), self.fixed and [mask[victims] for mask in self.fixed]

    def _iterate(self, view: tuple[Problem, list[Tensor] | None], state: State) -> None:
        """One iteration of all victims of a pass.

        Nothing of ``state`` changes before the gradients are known, so running out of memory there costs nothing.
        """
        gradients, total, distance = self._evaluate(view, state)
        if self.observe is not None:
            self.observe(state, total, distance)
        try:
            self._step(state, gradients, total, distance)
        except torch.OutOfMemoryError as error:
            raise AttackError(
                f"out of memory amid a step; set victims_per_pass below {len(state)}"
            ) from error

    def _evaluate(
        self, view: tuple[Problem, list[Tensor] | None], state: State
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """The gradients with respect to ``[x, *masks' variables]``, total loss and matching distance (V,)."""
        problem, fixed = view
        settings = self.settings
        x = state.x.detach().requires_grad_()
        optimised = [self.parametrisation.masks(mask) for mask in state.masks]
        if self.seeks_masks and fixed is not None:
            optimised = _filled(optimised, fixed)
        optimised = [mask.detach().requires_grad_() for mask in optimised]
        masks = optimised if self.seeks_masks else fixed
        distance = matching_distance(problem.model, problem.received, x, masks, problem.labels)
        total = distance + settings.tv_weight * total_variation(x)
        gradients = list(torch.autograd.grad(total.sum(), [x, *optimised]))
        total, distance = total.detach(), distance.detach()
        if self.seeks_masks:
            with torch.no_grad():
                penalty, slopes = mask_penalty(optimised, problem.rates)
                total = total + problem.mask_penalty * penalty
                for number, (mask, slope) in enumerate(zip(optimised, slopes, strict=True), start=1):
                    gradients[number] += problem.mask_penalty * slope.view(-1, *[1] * (mask.dim() - 1))
                    gradients[number] = self.parametrisation.chain(gradients[number], mask)
                    if fixed is not None:
                        gradients[number].masked_fill_(~fixed[number - 1].isnan(), 0)
        return gradients, total, distance

    def _step(self, state: State, gradients: list[Tensor], total: Tensor, distance: Tensor) -> None:
        """Adam, the constraints, the schedule; keep what is best."""
        settings, low, high = self.settings, self.problem.low, self.problem.high
        # Before the step, because the sign of NaN is 0 and the loss would stay finite.
        sound = torch.stack([gradient.isfinite().flatten(1).all(1) for gradient in gradients]).all(0)
        state.bad_gradient |= state.going & torch.isfinite(total) & ~sound
        state.bad_loss |= state.going & ~torch.isfinite(total)
        if settings.signed_gradients:
            gradients[0] = gradients[0].sign()
        for value, gradient, first, second in zip(
            [state.x, *state.masks], gradients, state.first, state.second, strict=True
        ):
            adam.step(value, gradient, first, second, state.iteration + 1, state.plateau.rate)
        torch.clamp(state.x, low, high, out=state.x)
        for mask in state.masks:
            self.parametrisation.constrain(mask)
        state.plateau.step(total, settings.plateau_factor, settings.plateau_patience)
        self._note(state, total, distance)

    def _note(self, state: State, total: Tensor, distance: Tensor) -> None:
        """Keep the best iterates and find out who stops."""
        settings = self.settings
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
        state.iteration += 1
        stops = (state.best.loss < settings.stop_loss) | (state.best.waited >= settings.early_stop_patience)
        stops |= torch.full_like(stops, state.iteration >= settings.max_iterations)
        state.stopped = torch.where(state.going & stops, state.iteration, state.stopped)
        state.going = state.going & ~stops

    def _check_finite(self, state: State) -> None:
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
