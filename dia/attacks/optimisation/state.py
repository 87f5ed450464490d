"""Everything an iterative attack carries from one iteration to the next, a row a victim."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dia.attacks.optimisation.lbfgs import BatchedLBFGS
from dia.attacks.optimisation.schedules import BestIterate, Plateau
from dia.attacks.problem import Problem
from dia.utils.tensors import map_tensors


@dataclass
class SearchState:
    """The state of the victims of one pass.

    Attributes:
        iteration: Iterations done; the same for all victims of a pass.
        victims: (V,) their numbers within the cell.
        x: (V, N, C, H, W) images, normalised.
        masks: The variables of optimised masks, per site (V, N, *site.shape); none where masks are not optimised.
        first, second: Adam's moments of ``[x, *masks]``.
        plateau: Learning rates.
        quasi_newton: What L-BFGS remembers; None where Adam makes all steps.
        best: The best losses.
        best_x: The iterate *after* the step whose loss, computed before it, was best.
        best_kept: That iterate's masks, rounded: True where an entry is kept.
        best_distance: (V,) the bare matching distance that belongs to the best loss.
        going: (V,) bool, False once a victim has stopped.
        bad_gradient: (V,) bool, True once the gradient of a finite loss was not finite.
        bad_loss: (V,) bool, True once a loss was not finite.
        stopped: (V,) the number of iterations at which it stopped.
        seconds: (V,) each victim's share of the time spent.
        threshold: The value of a mask variable from which its entry counts as kept.
        restart: Which of the attack's starts this is, from 0.
    """

    iteration: int
    victims: Tensor
    x: Tensor
    masks: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]
    plateau: Plateau
    quasi_newton: BatchedLBFGS | None
    best: BestIterate
    best_x: Tensor
    best_kept: list[Tensor]
    best_distance: Tensor
    going: Tensor
    bad_gradient: Tensor
    bad_loss: Tensor
    stopped: Tensor
    seconds: Tensor
    threshold: float
    restart: int

    @classmethod
    def start(
        cls, problem: Problem, victims: Tensor, x: Tensor, masks: list[Tensor], threshold: float, restart: int
    ) -> "SearchState":
        """Before the first iteration, at image ``x`` and at the variables ``masks`` (possibly none)."""
        x = x.clone()
        count, device = len(x), x.device
        variables = [x, *masks]
        plateau = Plateau.start(count, problem.settings.learning_rate, device)
        return cls(
            iteration=0,
            victims=victims,
            x=x,
            masks=masks,
            first=[torch.zeros_like(v) for v in variables],
            second=[torch.zeros_like(v) for v in variables],
            plateau=plateau,
            quasi_newton=None
            if problem.settings.lbfgs_start_iteration is None
            else BatchedLBFGS.start(variables),
            best=BestIterate.start(count, device),
            best_x=x.clone(),
            best_kept=[mask > threshold for mask in masks],
            best_distance=torch.full_like(plateau.best, torch.inf),
            going=torch.ones(count, dtype=torch.bool, device=device),
            bad_gradient=torch.zeros(count, dtype=torch.bool, device=device),
            bad_loss=torch.zeros(count, dtype=torch.bool, device=device),
            stopped=torch.zeros(count, dtype=torch.int64, device=device),
            seconds=torch.zeros_like(plateau.rate),
            threshold=threshold,
            restart=restart,
        )

    def __len__(self) -> int:
        return len(self.victims)

    def kept(self) -> list[Tensor]:
        """The masks of now, rounded, per site (V, N, *site.shape) bool: True where an entry is kept."""
        return [mask > self.threshold for mask in self.masks]

    def remains(self) -> "SearchState":
        """What is left of it when its victims have stopped, on the CPU: no moments, of masks only the best ones."""
        return replace(self, masks=[], first=[], second=[], quasi_newton=None).to(torch.device("cpu"))

    def select(self, rows: Tensor) -> "SearchState":
        """The state of some of the victims ((K,) row indices)."""
        return map_tensors(self, lambda tensor: tensor[rows])

    def to(self, device: torch.device) -> "SearchState":
        return map_tensors(self, lambda tensor: tensor.to(device))
