"""The analytic attack in the grid: the same rows as an iterative one, without iterations."""

import time
from collections.abc import Callable

import torch

from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.solve import Solution, Solver, build_solver
from dia.attacks.attack import Observer
from dia.attacks.optimisation.objective import matching_distance
from dia.attacks.optimisation.state import SearchProgress
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem
from dia.attacks.stop_reasons import NOT_APPLICABLE


class Analytic:
    """One attack on all victims of a problem, one after the other."""

    optimises_masks = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        began = time.perf_counter()
        self._solver: Solver | None = None
        self._why = ""
        try:
            self._solver = build_solver(problem)
        except NotApplicable as error:
            self._why = str(error)
        self._preparation = time.perf_counter() - began

    def _solve(self, victim: int) -> tuple[Solution, float]:
        began = time.perf_counter()
        try:
            if self._solver is None:
                raise NotApplicable(self._why)
            solution = self._solver(victim)
        except NotApplicable as error:
            images = self.problem.labels.shape[1]
            neutral = torch.zeros(images, *self.problem.shape, dtype=self.problem.dtype)
            nothing = torch.zeros(images, dtype=torch.bool)
            solution = Solution(neutral, nothing, None, f"{NOT_APPLICABLE}: {error}")
        return solution, time.perf_counter() - began + self._preparation / len(self.problem)

    def run(
        self,
        *,
        observe: Observer | None = None,
        on_iteration: Callable[[SearchProgress], None] | None = None,
        notify: Callable[[str], None] | None = None,
        resume: SearchProgress | None = None,
    ) -> Outcome:
        """All victims' solutions; matching distances are with the masks read off, else without dropout."""
        if self._solver is None and notify is not None:
            notify(f"the analytic attack does not apply: {self._why}")
        solved = [self._solve(victim) for victim in range(len(self.problem))]
        x = torch.stack([solution.x for solution, _ in solved])
        recovered = None
        if self.problem.model.sites and all(solution.masks is not None for solution, _ in solved):
            sites = zip(*(solution.masks or [] for solution, _ in solved), strict=True)
            recovered = [torch.stack(masks) for masks in sites]
        distances = []
        for victim in torch.arange(len(self.problem)).split(1):
            one = self.problem.select(victim).placed()
            image = x[victim].to(one.device)
            masks = recovered and [mask[victim].to(image) for mask in recovered]
            distances.append(
                matching_distance(one.model, one.received, image, masks, one.labels).detach().cpu()
            )
        none = torch.zeros(len(x), dtype=torch.int64)
        return Outcome(
            x=x,
            masks=recovered,
            total_loss=torch.cat(distances).double(),
            matching_distance=torch.cat(distances).double(),
            iterations=none,
            best_iteration=none,
            restart=none,
            stop_reason=[solution.reason for solution, _ in solved],
            seconds=torch.tensor([seconds for _, seconds in solved], dtype=torch.float64),
            victims_per_chunk=1,
            claimed=torch.stack([solution.claimed for solution, _ in solved]),
        )


def build(problem: Problem, victims_per_chunk: int | None = None) -> Analytic:
    """The closed form that fits the problem; it takes one victim after the other."""
    return Analytic(problem)
