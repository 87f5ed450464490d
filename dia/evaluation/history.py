"""Record losses and scores over the iterations of an attack: the history columns of the results."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dia.attacks.optimisation.state import SearchState
from dia.evaluation.assignment import align_reconstructions
from dia.evaluation.experiment import Experiment
from dia.evaluation.mask_recovery import align_masks, mask_accuracy


@dataclass
class Curves:
    """Losses and scores over the iterations of every victim: an observer of the attack.

    Attributes:
        experiment: What is attacked.
        every: Iterations between two points.
        optimises_masks: Whether the attack has masks to compare.
        influential: The entries that mask accuracy is over; empty where there are no masks to compare.
        points: Per victim, and again for every further start, tuples (iteration, total loss, matching distance, mse,
            mask accuracy).
    """

    experiment: Experiment
    every: int
    optimises_masks: bool
    influential: list[Tensor] = field(init=False)
    points: list[list[tuple[int, float, float, float, float]]] = field(init=False)

    def __post_init__(self) -> None:
        problem = self.experiment.problem
        # Before the attack, whose time is measured.
        compares_masks = self.optimises_masks and self.experiment.true_masks is not None
        self.influential = self.experiment.influential_entries if compares_masks else []
        self.points = [[] for _ in range(problem.settings.restarts * len(problem))]

    def __call__(self, state: SearchState, total_loss: Tensor, matching_distance: Tensor) -> None:
        if state.iteration % self.every:
            return
        rows = (
            (state.active & total_loss.isfinite()).nonzero().flatten()
        )  # a victim that fails has a loss that is not
        if not len(rows):
            return
        victims = state.victims[rows].cpu()
        original = self.experiment.original[victims]
        pixels = self.experiment.normalisation.to_pixels(state.x[rows]).to(original)
        mse, true = original.new_full((len(rows),), torch.nan), self.experiment.has_original[victims]
        if bool(true.any()):
            pixels = align_reconstructions(original[true], pixels[true])
            mse[true] = (pixels - original[true]).square().flatten(1).mean(1)
        accuracy = torch.full_like(mse, torch.nan)
        if state.masks and self.experiment.true_masks is not None:
            dropped = [mask[victims] for mask in self.experiment.true_masks]
            masks = align_masks(
                [m[rows].cpu() for m in state.rounded_masks()], dropped, self.experiment.labels[victims]
            )
            accuracy = mask_accuracy(masks, dropped, [entries[victims] for entries in self.influential])
        columns = (total_loss[rows], matching_distance[rows], mse, accuracy)
        first = state.restart * len(self.experiment.problem)
        for victim, *values in zip(victims.tolist(), *(column.tolist() for column in columns), strict=True):
            points = self.points[first + victim]
            while points and points[-1][0] >= state.iteration:  # of a search that had to begin again
                points.pop()
            points.append((state.iteration, *values))

    def columns(self, victim: int | None, restart: int) -> dict[str, list[float]]:
        """The history columns of one victim's row: the curves of one of its starts; empty for no victim (None)."""
        names = ("iteration", "total_loss", "matching_distance", "mse", "mask_accuracy")
        points = [] if victim is None else self.points[restart * len(self.experiment.problem) + victim]
        values = list(zip(*points, strict=True)) or [()] * len(names)
        columns = {f"history_{name}": list(column) for name, column in zip(names, values, strict=True)}
        if not self.influential:
            columns["history_mask_accuracy"] = []
        if victim is not None and not self.experiment.has_original[victim]:
            columns["history_mse"] = []
        return columns
