"""The attack that ``ig``, ``wiig`` and ``dia`` share: gradient matching, all victims of a chunk at once.

An iteration computes the loss, steps, clips the image to the pixel box and the masks to [0, 1], and keeps the iterate
after the step where the loss before it was a victim's best. Victims that stop leave the batch.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dia.attacks.attack import Observer
from dia.attacks.optimisation.best_of_starts import best_of_starts
from dia.attacks.optimisation.chunk import Chunk, fill_fixed
from dia.attacks.optimisation.chunk_size import victims_that_fit
from dia.attacks.optimisation.compilation import Compilation
from dia.attacks.optimisation.graph_replay import GraphReplay
from dia.attacks.optimisation.iteration import advance
from dia.attacks.optimisation.mask_variables import mask_variables
from dia.attacks.optimisation.objective import Evaluation, evaluate, tv_weight
from dia.attacks.optimisation.progress_check import check_progress
from dia.attacks.optimisation.state import SearchProgress, SearchState
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem
from dia.errors import AttackError
from dia.utils.devices import is_out_of_memory

CHECK_EVERY = {"cpu": 1, "cuda": 20}
"""Iterations between checks of which victims have stopped; a check makes a GPU wait."""


class OutOfMemoryAmidStep(torch.OutOfMemoryError):
    """Memory ran out while a state was changed: it is neither what it was before the step nor what comes after."""


class GradientMatchingAttack:
    """Gradient matching on all victims of a problem, in chunks of victims that share a batch.

    Args:
        problem: The victims as the server sees them.
        victims_per_chunk: How many victims share a batch; None chooses by the memory that one needs, see
            :mod:`dia.attacks.optimisation.chunk_size`.
        fixed_masks: Masks used throughout, per site (V, N, *site.shape), on the CPU; where masks are optimised, NaN
            stands for an entry that is not fixed. Without masks fixed or optimised dropout is off.
        optimises_masks: Whether masks are optimised together with the image, from where the problem starts them.
        remarks: Lines that every run begins with, for ``notify``.
    """

    def __init__(
        self,
        problem: Problem,
        victims_per_chunk: int | None = None,
        *,
        fixed_masks: list[Tensor] | None = None,
        optimises_masks: bool = False,
        remarks: Sequence[str] = (),
    ) -> None:
        self.problem, self.victims_per_chunk = problem, victims_per_chunk
        self.fixed_masks, self.optimises_masks, self.remarks = fixed_masks, optimises_masks, remarks
        self.settings = problem.settings
        self.mask_variables = mask_variables(problem.settings)
        self._graphs, self._compilation = GraphReplay(False), Compilation(False)

    def run(
        self,
        *,
        observe: Observer | None = None,
        on_iteration: Callable[[SearchProgress], None] | None = None,
        notify: Callable[[str], None] | None = None,
        resume: SearchProgress | None = None,
        compilation: Compilation | None = None,
        graphs: GraphReplay | None = None,
    ) -> Outcome:
        """Iterate until every victim has stopped; see :meth:`dia.attacks.attack.Attack.run`.

        Raises:
            AttackError: One victim alone does not fit.
        """
        notify = notify or (lambda line: None)
        self._graphs = graphs or GraphReplay(False)
        for remark in self.remarks:
            notify(remark)
        progress = self.start() if resume is None else self._resumed(resume)
        self._compilation = compilation or Compilation(False)
        self._compilation.begin(self.problem, progress.initial_chunk_size, notify)
        while progress.active or progress.pending:
            out_of_memory = amid_step = False
            try:
                if not progress.active:
                    self._begin_chunk(progress)
                self._run_chunk(progress, observe, on_iteration or (lambda progress: None))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                out_of_memory, amid_step = True, isinstance(error, OutOfMemoryAmidStep)
            if out_of_memory:  # out here, where the exception no longer holds what did not fit
                self._halve_chunk(progress, notify, begin_again=amid_step)
        return self._outcome(progress)

    def start(self) -> SearchProgress:
        """The progress before the first iteration: all chunks of all starts are pending."""
        everyone = torch.arange(len(self.problem))
        size = self.victims_per_chunk or self._victims_that_fit(everyone[:1])
        chunks = (
            (restart, victims)
            for restart in range(self.settings.restarts)
            for victims in everyone.split(size)
        )
        return SearchProgress(size, size, pending=deque(chunks))

    def check(self, progress: SearchProgress) -> None:
        """Raise unless this attack could have made the progress; see :meth:`dia.attacks.attack.Attack.check`."""
        check_progress(progress, self._initial_state, self.settings, len(self.problem))

    def _resumed(self, progress: SearchProgress) -> SearchProgress:
        return replace(
            progress,
            pending=deque(progress.pending),
            active=deque(progress.active),
            finished=list(progress.finished),
        )

    def _outcome(self, progress: SearchProgress) -> Outcome:
        outcome = best_of_starts(
            progress.finished, self.settings, progress.chunk_size, optimised_masks=self.optimises_masks
        )
        if progress.chunk_size < progress.initial_chunk_size:
            outcome.notes.append(
                f"out of memory: begun with {progress.initial_chunk_size} victims per chunk, continued with "
                f"{progress.chunk_size}"
            )
        return outcome

    def _begin_chunk(self, progress: SearchProgress) -> None:
        """Begin the next chunk, with as many victims as fit."""
        restart, victims = progress.pending[0]
        began = time.perf_counter()
        state = self._initial_state(restart, self._next_victims(progress))
        state.seconds += (time.perf_counter() - began) / len(state)  # a start may be computed
        progress.pending.popleft()
        if len(victims) > len(state):
            progress.pending.appendleft((restart, victims[len(state) :]))
        progress.active.append(state)

    @staticmethod
    def _next_victims(progress: SearchProgress) -> Tensor:
        """The victims ((K,) numbers) of the next chunk."""
        return progress.pending[0][1][: progress.chunk_size]

    def _initial_state(self, restart: int, victims: Tensor) -> SearchState:
        problem, device = self.problem.select(victims), self.problem.device
        masks = [mask.to(device) for mask in problem.masks(restart)] if self.optimises_masks else []
        if masks and (fixed := self._fixed_masks(victims)):
            masks = fill_fixed(masks, fixed)
        variables = [self.mask_variables.from_masks(mask) for mask in masks]
        x, threshold = problem.images(restart).to(device), self.mask_variables.threshold
        return SearchState.start(problem, victims.to(device), x, variables, threshold, restart)

    def _fixed_masks(self, victims: Tensor) -> list[Tensor] | None:
        """The fixed masks of some victims ((K,) numbers), on the device; None where none are fixed."""
        device, dtype = self.problem.device, self.problem.dtype
        return self.fixed_masks and [mask[victims.cpu()].to(device, dtype) for mask in self.fixed_masks]

    def _chunk(self, state: SearchState) -> Chunk:
        """The part that the victims of ``state`` need of the whole problem, on the device."""
        return Chunk(self.problem.select(state.victims).placed(), self._fixed_masks(state.victims))

    def _victims_that_fit(self, first: Tensor) -> int:
        """The number of victims that share a batch, as measured on the ``first`` one ((1,) number)."""
        try:
            state = self._initial_state(0, first)
            return victims_that_fit(self._chunk(state), state, len(self.problem))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise self._does_not_fit(int(first)) from error

    def _does_not_fit(self, victim: int) -> AttackError:
        name = self.problem.victim_ids[victim]
        return AttackError(
            f"victim {name} alone does not fit in the device's memory; use a smaller batch_size"
        )

    def _run_chunk(
        self,
        progress: SearchProgress,
        observe: Observer | None,
        on_iteration: Callable[[SearchProgress], None],
    ) -> None:
        """Advance the current chunk until all its victims are finished."""
        progress.active[0] = progress.active[0].to(self.problem.device)
        chunk = self._chunk(progress.active[0])
        check_every = CHECK_EVERY.get(self.problem.device.type, 1)
        while True:
            on_iteration(progress)
            state = progress.active[0]
            began = time.perf_counter()
            self._iterate(chunk, state, observe)
            is_due = state.iteration % check_every == 0 or state.iteration >= self.settings.max_iterations
            # A GPU is waited for here, within the time that is measured.
            some_stopped = is_due and not bool(state.active.all())
            state.seconds += (time.perf_counter() - began) / len(state)
            if some_stopped:
                remaining = self._remove_stopped(progress, chunk)
                if remaining is None:
                    return
                chunk = remaining

    @staticmethod
    def _remove_stopped(progress: SearchProgress, chunk: Chunk) -> Chunk | None:
        """Take the victims that have stopped out of the current chunk; None if none remain.

        Running out of memory here must neither lose nor double a victim: ``progress`` changes once nothing is left
        that could.
        """
        state = progress.active[0]
        stopped = state.without_optimiser_state()
        stopped = stopped.select(torch.nonzero(~stopped.active).flatten())
        rows = torch.nonzero(state.active).flatten()
        remaining = None
        if len(rows):
            progress.active[0], remaining = state.select(rows), chunk.select(rows)
        else:
            progress.active.popleft()
        progress.finished.append(stopped)
        return remaining

    def _iterate(self, chunk: Chunk, state: SearchState, observe: Observer | None) -> None:
        """One iteration; ``state`` changes only after it is evaluated, so running out of memory there costs nothing.

        Raises:
            OutOfMemoryAmidStep: Memory ran out later than that.
        """
        weight = tv_weight(self.settings, state.iteration)
        found = self._compilation.evaluate(chunk, state, self.mask_variables, weight)
        if found is None:
            found = self._graphs(self._evaluate, chunk, state, weight)
        if observe is not None:
            observe(state, found.total_loss, found.matching_distance)
        try:
            advance(state, found, self.problem, self.mask_variables)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryAmidStep from error

    def _evaluate(self, chunk: Chunk, state: SearchState, tv_weight: Tensor | float) -> Evaluation:
        return evaluate(chunk, state, self.mask_variables, tv_weight)

    def _halve_chunk(
        self, progress: SearchProgress, notify: Callable[[str], None], *, begin_again: bool
    ) -> None:
        """After running out of memory: continue the current chunk as two, and begin smaller ones from now on.

        Args:
            progress: Changed in place.
            notify: Told.
            begin_again: Whether the state of the current chunk is lost, so that its victims begin anew.
        """
        victims = progress.active[0].victims if progress.active else self._next_victims(progress)
        count = len(victims)
        if count == 1:
            raise self._does_not_fit(int(victims[0]))
        self._graphs.forget()
        torch.cuda.empty_cache()
        size = progress.chunk_size = (count + 1) // 2
        how = "beginning them again" if begin_again else "continuing"
        notify(f"out of memory with {count} victims per chunk: {how} with {size}")
        if begin_again:
            lost = progress.active.popleft()
            progress.pending.appendleft((lost.restart, lost.victims.cpu()))
        elif progress.active:
            state = progress.active[0].to(torch.device("cpu"))  # there is no room for halves on the device
            first, second = (state.select(rows) for rows in torch.arange(count).split(size))
            progress.active[0] = second
            progress.active.appendleft(first)
