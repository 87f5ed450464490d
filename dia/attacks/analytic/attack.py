"""The analytic attack in the grid: the same rows as an iterative one, without iterations."""

import time
from collections.abc import Callable

import torch

from dia.attacks import NOT_APPLICABLE
from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.solve import Solution, Solver, build_solver
from dia.attacks.optimisation.objective import matching_distance
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem


class Analytic:
    """One attack on all victims of a problem, one after the other.

    Attributes:
        seeks_masks: Whether the outcome has masks: where a fully connected network's were read off.
    """

    def __init__(self, problem: Problem, announce: Callable[[str], None] = lambda message: None) -> None:
        self.problem, self.announce = problem, announce
        began = time.perf_counter()
        self._solver: Solver | None = None
        self._why = ""
        try:
            self._solver = build_solver(problem)
        except NotApplicable as error:
            self._why = str(error)
            announce(f"the analytic attack does not apply: {error}")
        self._preparation = time.perf_counter() - began
        self._solutions: list[tuple[Solution, float]] | None = None
        self.seeks_masks = bool(problem.model.sites) and all(s.masks is not None for s, _ in self._solved())

    def _solved(self) -> list[tuple[Solution, float]]:
        """Every victim's solution and the seconds it took."""
        if self._solutions is None:
            self._solutions = [self._solve(victim) for victim in range(len(self.problem))]
        return self._solutions

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

    def run(self) -> Outcome:
        """All victims' solutions; matching distances are with the masks read off, else without dropout."""
        solved = self._solved()
        x = torch.stack([solution.x for solution, _ in solved])
        kept = None
        if self.seeks_masks:
            sites = zip(*(solution.masks or [] for solution, _ in solved), strict=True)
            kept = [torch.stack(masks) for masks in sites]
        distances = []
        for victim in torch.arange(len(self.problem)).split(1):
            one = self.problem.select(victim).placed()
            image = x[victim].to(one.device)
            masks = kept and [mask[victim].to(image) for mask in kept]
            distances.append(
                matching_distance(one.model, one.received, image, masks, one.labels).detach().cpu()
            )
        none = torch.zeros(len(x), dtype=torch.int64)
        return Outcome(
            x=x,
            kept=kept,
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


def prepare(
    problem: Problem, announce: Callable[[str], None] = lambda message: None, **how: object
) -> Analytic:
    """The closed form that fits the problem; there are no iterations to observe."""
    return Analytic(problem, announce)
