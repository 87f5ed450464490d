"""DIA started where the closed form ends: images and masks that ``analytic`` finds, then a search for what it leaves.

Where the closed form determines everything, the search stops after its first look. Where it leaves something free (a
convolution of too low rank, ``underdetermined``; the image behind the features of a ResNet, ``approximate``) the
search begins near the private image instead of in noise: with ReLU, gradient matching from noise gets caught between
kinks. Where it does not apply, this is ``dia_readout`` with other settings.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dia.attacks import dia_readout
from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.solve import Solution, Solver, build_solver
from dia.attacks.optimisation.attack import GradientMatchingAttack
from dia.attacks.problem import Problem


def build(problem: Problem, victims_per_chunk: int | None = None) -> GradientMatchingAttack:
    """``dia_readout`` whose first start is the closed form's solution; further ``restarts`` are random, as ever."""
    return dia_readout.build(replace(problem, initialisation=AnalyticStart(problem)), victims_per_chunk)


class AnalyticStart:
    """Starts that ``analytic`` finds; an :class:`~dia.attacks.problem.Initialisation`.

    A victim is solved when its start is first asked for. Images of which nothing was found, and masks that were not
    read off, start as the problem's own do; so does everything in later restarts.

    Args:
        problem: All victims of the attack.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._numbers = {name: number for number, name in enumerate(problem.victim_ids)}
        self._solver: Solver | None = None
        self._solutions: dict[str, Solution | None] = {}

    def images(self, restart: int, victim_ids: Sequence[str]) -> Tensor:
        """(V, N, C, H, W), normalised, within the pixel box where the closed form found something."""
        starts = self.problem.initialisation.images(restart, victim_ids)
        if restart:
            return starts
        low, high = self.problem.low.cpu(), self.problem.high.cpu()
        starts = starts.clone()
        for row, solution in enumerate(map(self._solution, victim_ids)):
            if solution is not None:
                found = solution.x.flatten(1).any(1)
                starts[row, found] = torch.clamp(solution.x, low, high)[found].to(starts)
        return starts

    def masks(self, restart: int, victim_ids: Sequence[str]) -> list[Tensor]:
        """In [0, 1], per site (V, N, *site.shape); empty without dropout."""
        starts = self.problem.initialisation.masks(restart, victim_ids)
        if restart or not starts:
            return starts
        starts = [mask.clone() for mask in starts]
        for row, solution in enumerate(map(self._solution, victim_ids)):
            if solution is not None and solution.masks is not None:
                for mask, read in zip(starts, solution.masks, strict=True):
                    mask[row] = read.to(mask)
        return starts

    def _solution(self, victim_id: str) -> Solution | None:
        """The closed form's solution; None where it does not apply."""
        if victim_id not in self._solutions:
            try:
                self._solver = self._solver or build_solver(self.problem)
                self._solutions[victim_id] = self._solver(self._numbers[victim_id])
            except NotApplicable:
                self._solutions[victim_id] = None
        return self._solutions[victim_id]
