"""The analytic attack in the grid: the same rows as an iterative one, without iterations."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.solve import Solution, Solver, build_solver
from dia.attacks.attack import Observer
from dia.attacks.optimisation.compilation import Compilation
from dia.attacks.optimisation.graph_replay import GraphReplay
from dia.attacks.optimisation.objective import matching_distance
from dia.attacks.optimisation.state import SearchProgress
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem
from dia.attacks.stop_reasons import FAILED, NOT_APPLICABLE


class Analytic:
    """The closed form that fits a problem, solved for one victim after the other."""

    optimises_masks = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

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
        """All victims' solutions; matching distances are with the masks read off, else without dropout."""
        victims = range(len(self.problem))
        began = time.perf_counter()
        try:
            solve = build_solver(self.problem)
        except NotApplicable as error:
            solve = _refusing(error)
            if notify is not None:
                notify(f"the analytic attack does not apply: {error}")
        preparation = (time.perf_counter() - began) / len(victims)
        solutions, seconds = [], []
        for victim in victims:
            began = time.perf_counter()
            solutions.append(self._solve(solve, victim))
            seconds.append(time.perf_counter() - began + preparation)
        x = torch.stack([solution.x for solution in solutions])
        masks = self._masks(solutions)
        distance = self._matching_distance(x, masks).double()
        none = torch.zeros(len(victims), dtype=torch.int64)
        return Outcome(
            x=x,
            masks=masks,
            total_loss=distance,
            matching_distance=distance,
            iterations=none,
            best_iteration=none,
            restart=none,
            stop_reason=[solution.reason for solution in solutions],
            seconds=torch.tensor(seconds, dtype=torch.float64),
            victims_per_chunk=1,
            claimed=torch.stack([solution.claimed for solution in solutions]),
        )

    def check(self, progress: SearchProgress) -> None:
        """Refuse any progress."""
        raise ValueError("the analytic attack has no iterations to continue")

    def _solve(self, solve: Solver, victim: int) -> Solution:
        """One victim's solution; where there is none, images of the mean colour and the reason."""
        try:
            return solve(victim)
        except NotApplicable as error:
            reason = f"{NOT_APPLICABLE}: {error}"
        except torch.linalg.LinAlgError as error:  # of this victim's gradient: the others have theirs
            reason = f"{FAILED}: {error}"
        images = self.problem.labels.shape[1]
        neutral = torch.zeros(images, *self.problem.shape, dtype=self.problem.dtype)
        return Solution(neutral, torch.zeros(images, dtype=torch.bool), None, reason)

    def _masks(self, solutions: Sequence[Solution]) -> list[Tensor] | None:
        """Per site (V, N, *site.shape) bool, where they were read off for every victim."""
        masks = [solution.masks for solution in solutions if solution.masks is not None]
        if not self.problem.model.sites or len(masks) < len(solutions):
            return None
        return [torch.stack(site) for site in zip(*masks, strict=True)]

    def _matching_distance(self, x: Tensor, masks: list[Tensor] | None) -> Tensor:
        """(V,) of the images x with the masks, else without dropout, one victim at a time on the device."""
        distances = []
        for victim in torch.arange(len(x)).split(1):
            one = self.problem.select(victim).placed()
            image = x[victim].to(one.device)
            own = masks and [mask[victim].to(image) for mask in masks]
            epsilon = one.settings.cosine_epsilon
            distance = matching_distance(one.model, one.received, image, own, one.labels, epsilon)
            distances.append(distance.detach().cpu())
        return torch.cat(distances)


def _refusing(error: NotApplicable) -> Solver:
    def solve(victim: int) -> Solution:
        raise error

    return solve


def build(problem: Problem, victims_per_chunk: int | None = None) -> Analytic:
    """The attack on a problem; it takes one victim after the other, whatever ``victims_per_chunk``."""
    return Analytic(problem)
