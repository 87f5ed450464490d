"""What an attack is measured by: scores, mask recovery and curves, against the truth that it never sees."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dia.attacks.optimisation.state import State
from dia.attacks.outcome import Outcome
from dia.datasets.victim_set import VictimSet
from dia.evaluation.experiment import Experiment
from dia.evaluation.lpips import lpips
from dia.evaluation.metrics import chance, match, scores
from dia.models.dropout import Site

NULLABLE = (
    "lpips",
    "mask_accuracy",
    "mask_accuracy_chance",
    "dropout_rate_estimate",
    "claimed",
    "claim_cosine",
    "label_accuracy",
    "label_accuracy_chance",
)
"""Scores that not every attack has."""


def influential_entries(experiment: Experiment) -> list[Tensor]:
    """Which mask entries can influence the client gradient, per site (V, N, *site.shape) bool, on the CPU.

    An entry with no effect on the loss at the private images and full masks has none on the gradient either: its
    activation is zero, or it never reaches the output (the other tokens of a transformer's last block).
    """
    found: list[list[Tensor]] = [[] for _ in experiment.client.sites]
    mean, std, device = experiment.mean, experiment.std, experiment.problem.device
    for original, labels in zip(experiment.original, experiment.labels.to(device), strict=True):
        x = ((original.to(mean) - mean) / std).to(device)
        masks = [x.new_ones(site.mask_shape(len(x))).requires_grad_() for site in experiment.client.sites]
        loss = experiment.client.losses(x[None], [mask[None] for mask in masks], labels[None]).sum()
        for site, slope in zip(found, torch.autograd.grad(loss, masks), strict=True):
            site.append((slope != 0).cpu())
    return [torch.stack(site) for site in found]


def in_order(kept: Sequence[Tensor], true: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """Recovered masks (V, N, ...) a site, images of one label in the order that agrees best with the true ones.

    A gradient tells images apart by their labels alone. Masks of local steps over some of the images stay as they are.
    """
    victims, images = labels.shape
    if images == 1:
        return list(kept)
    from scipy.optimize import linear_sum_assignment  # half a second, which a cell of single images is spared

    order = torch.arange(images).expand(victims, -1).clone()
    whole = all(mask.shape[1] == images for mask in kept)
    for victim in range(victims if whole else 0):
        for label in set(labels[victim].tolist()):
            same = torch.nonzero(labels[victim] == label).flatten()
            if len(same) > 1:
                agreement = torch.zeros(len(same), len(same), dtype=torch.int64)
                for k, t in zip(kept, true, strict=True):
                    a, b = ((mask[victim, same] > 0.5).flatten(1) for mask in (t, k))
                    agreement += (a[:, None] == b[None]).sum(2).cpu()
                order[victim, same.cpu()] = same.cpu()[
                    linear_sum_assignment(agreement.numpy(), maximize=True)[1]
                ]
    rows = torch.arange(victims)[:, None]
    return [mask[rows, order] for mask in kept] if whole else list(kept)


def mask_accuracy(kept: Sequence[Tensor], true: Sequence[Tensor], counted: Sequence[Tensor]) -> Tensor:
    """(V,) share of the counted entries recovered, over all sites together; all arguments (V, ...) bool a site."""
    right = _entries((k == t) & c for k, t, c in zip(kept, true, counted, strict=True))
    return right / _entries(counted)


def _entries(marked: Iterable[Tensor]) -> Tensor:
    """(V,) how many entries are marked, over all sites together."""
    return torch.stack([mark.flatten(1).sum(1) for mark in marked]).sum(0)


def mask_accuracy_chance(true: Sequence[Tensor], counted: Sequence[Tensor]) -> Tensor:
    """(V,) what the better of "all kept" and "all dropped" reaches."""
    ones = [torch.ones_like(t) for t in true]
    all_kept = mask_accuracy(ones, true, counted)
    return torch.maximum(all_kept, 1 - all_kept)


def dropped_share(kept: Sequence[Tensor], counted: Sequence[Tensor]) -> Tensor:
    """(V,) share of the counted entries that the recovered masks drop: the attacker's estimate of p."""
    return _entries(~k & c for k, c in zip(kept, counted, strict=True)) / _entries(counted)


def label_accuracy_chance(labels: Tensor, num_classes: int) -> Tensor:
    """(V,) expected share of a victim's labels (V, N) found by drawing N classes at random.

    A class that occurs n times and is drawn B times gives min(n, B) right ones, B ~ Binomial(N, 1 / C); the
    expected minimum is the sum of P(B >= k) over k = 1..n.
    """
    from scipy.stats import binom  # most of a second, which a cell with known labels is spared

    images = labels.shape[1]
    reached = binom.sf(np.arange(images), images, 1 / num_classes).cumsum()  # E min(n, B) at n - 1
    shares = []
    for own in labels.tolist():
        shares.append(sum(reached[own.count(label) - 1] for label in set(own)) / images)
    return torch.tensor(shares, dtype=torch.float64)


@dataclass
class Curves:
    """Losses and scores over the iterations of every victim: an observer of the attack.

    Attributes:
        experiment: What is attacked.
        every: Iterations between two points.
        counted: The entries that mask accuracy is over; empty where masks are not sought.
        points: Per victim, and again for every further start, tuples (iteration, total loss, matching distance, mse,
            mask accuracy).
    """

    experiment: Experiment
    every: int
    counted: list[Tensor]
    points: list[list[tuple[int, float, float, float, float]]] = field(init=False)

    def __post_init__(self) -> None:
        problem = self.experiment.problem
        self.points = [[] for _ in range(problem.settings.restarts * len(problem))]

    def __call__(self, state: State, total_loss: Tensor, matching_distance: Tensor) -> None:
        if state.iteration % self.every:
            return
        victims = state.victims.cpu()
        original = self.experiment.original[victims]
        pixels = self.experiment.to_pixels(state.x).to(original)
        order = match(original, pixels)
        pixels = pixels[torch.arange(len(order))[:, None], order]
        mse = (pixels - original).square().flatten(1).mean(1)
        accuracy = torch.full_like(mse, torch.nan)
        if state.masks and self.counted:
            true = [mask[victims] for mask in self.experiment.true_masks]
            kept = in_order([m.cpu() for m in state.kept()], true, self.experiment.labels[victims.cpu()])
            accuracy = mask_accuracy(kept, true, [c[victims] for c in self.counted])
        columns = (total_loss, matching_distance, mse, accuracy)
        going, first = state.going.tolist(), state.restart * len(self.experiment.problem)
        for row, values in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            if going[row]:
                self.points[first + int(victims[row])].append((state.iteration, *values))

    def columns(self, victim: int, restart: int) -> dict[str, list[float]]:
        """The history columns of one victim's row: the curves of one of its starts."""
        names = ("iteration", "total_loss", "matching_distance", "mse", "mask_accuracy")
        points = self.points[restart * len(self.experiment.problem) + victim]
        values = list(zip(*points, strict=True)) or [()] * len(names)
        columns = {f"history_{name}": list(column) for name, column in zip(names, values, strict=True)}
        if not self.counted:
            columns["history_mask_accuracy"] = []
        return columns


def claim_cosine(true: Tensor, found: Tensor, claimed: Tensor) -> Tensor:
    """(V,) how well the worst claimed image fits the private image nearest to it, whatever its scale and sign.

    Args:
        true, found: (V, N, pixels), normalised.
        claimed: (V, N) bool.

    Returns:
        The smallest absolute cosine; NaN where nothing is claimed.
    """
    directions = [x / x.norm(dim=2, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny) for x in (found, true)]
    nearest = (directions[0] @ directions[1].transpose(1, 2)).abs().max(2).values
    worst = nearest.masked_fill(~claimed, torch.inf).min(1).values
    return worst.masked_fill(~claimed.any(1), torch.nan)


def chance_levels(victim_set: VictimSet, victims: int, batch_size: int) -> dict[str, Tensor]:
    """Chance scores (V,) of each victim, the mean over its images: see :func:`dia.evaluation.metrics.chance`.

    The mean image and the other image of the same class are taken from the whole victim set.
    """
    pixels = torch.tensor(victim_set.images, dtype=torch.float64).permute(0, 3, 1, 2) / 255
    levels = chance(pixels, torch.tensor(victim_set.labels))
    return {name: v[: victims * batch_size].view(victims, -1).mean(1) for name, v in levels.items()}


def score(experiment: Experiment, outcome: Outcome, counted: Sequence[Tensor]) -> list[dict[str, Any]]:
    """The score columns of every victim's row, and its matched reconstruction under ``"pixels"``."""
    original = experiment.original
    pixels = experiment.to_pixels(outcome.x).to(original)
    settings = experiment.problem.settings
    found = scores(original, pixels, settings.success_ssim)
    order = match(original, pixels)
    victims = len(order)
    pixels = pixels[torch.arange(victims)[:, None], order]
    std = experiment.std.to(original)
    found["mse_normalised"] = ((pixels - original) / std).square().flatten(1).mean(1)
    for name in ("total_loss", "matching_distance", "iterations", "best_iteration", "restart", "seconds"):
        found[name] = getattr(outcome, name)
    if outcome.kept is not None:
        true = experiment.true_masks
        kept = in_order(outcome.kept, true, experiment.labels)
        found["mask_accuracy"] = mask_accuracy(kept, true, counted)
        found["mask_accuracy_chance"] = mask_accuracy_chance(true, counted)
        found["dropout_rate_estimate"] = dropped_share(outcome.kept, counted)
    if outcome.claimed is not None:
        x = ((original - experiment.mean.to(original)) / std).flatten(2)
        found["claimed"] = outcome.claimed.double().mean(1)
        found["claim_cosine"] = claim_cosine(x, outcome.x.to(original).flatten(2), outcome.claimed)
    if settings.lpips_network != "none":
        found["lpips"] = lpips(original, pixels, settings.lpips_network).mean(1)
    if settings.labels == "inferred":
        labels, classes = experiment.labels, experiment.num_classes
        found["label_accuracy"] = (experiment.problem.labels == labels).double().mean(1)
        found["label_accuracy_chance"] = label_accuracy_chance(labels, classes)
    rows: list[dict[str, Any]] = [
        dict.fromkeys(NULLABLE) | {name: v[i].tolist() for name, v in found.items()} for i in range(victims)
    ]
    for number, row in enumerate(rows):
        row["pixels"] = pixels[number].numpy()
        row["stop_reason"] = outcome.stop_reason[number]
        row["notes"] = "; ".join(outcome.notes)
    return rows


def sites_in_words(sites: Sequence[Site]) -> str:
    """The dropout sites of a model for a log line."""
    steps = 1 + max((site.step for site in sites), default=0)
    sites = [site for site in sites if site.step == 0]  # every local step has masks of its own
    entries = sum(site.entries for site in sites)
    taken = f", {steps} local steps" if steps > 1 else ""
    return f"{len(sites)} dropout sites with {entries} mask entries an image{taken}"
