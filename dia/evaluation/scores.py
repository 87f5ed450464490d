"""Score an attack's outcome against the truth that the attack never sees: the score columns of the results."""

from typing import Any

import torch
from torch import Tensor

from dia.attacks.outcome import Outcome
from dia.evaluation.assignment import align_reconstructions
from dia.evaluation.chance_levels import label_accuracy_chance
from dia.evaluation.experiment import Experiment
from dia.evaluation.lpips import lpips
from dia.evaluation.mask_recovery import align_masks, dropped_fraction, mask_accuracy, mask_accuracy_chance
from dia.evaluation.metrics import scores

NULLABLE = (
    "lpips",
    "mask_accuracy",
    "mask_accuracy_chance",
    "dropout_rate_estimate",
    "claimed_fraction",
    "worst_claim_cosine",
    "label_accuracy",
    "label_accuracy_chance",
)
"""Scores that not every attack has."""


def score(experiment: Experiment, outcome: Outcome) -> list[dict[str, Any]]:
    """Score every victim.

    Args:
        experiment: What was attacked.
        outcome: What the attack ended with.

    Returns:
        For every victim the score columns of its row, None for those in :data:`NULLABLE` that the attack does not have,
        and under ``"pixels"`` its reconstructions (N, C, H, W) in [0, 1], in the order of the private images.
    """
    original = experiment.original
    pixels = experiment.normalisation.to_pixels(outcome.x).to(original)
    settings = experiment.problem.settings
    found = scores(original, pixels, settings.success_min_ssim)
    pixels = align_reconstructions(original, pixels)
    normalisation = experiment.normalisation.to(original)
    found["mse_normalised"] = ((pixels - original) / normalisation.std).square().flatten(1).mean(1)
    for name in ("total_loss", "matching_distance", "iterations", "best_iteration", "restart", "seconds"):
        found[name] = getattr(outcome, name)
    if outcome.masks is not None:
        true, influential = experiment.true_masks, experiment.influential_entries
        masks = align_masks(outcome.masks, true, experiment.labels)
        found["mask_accuracy"] = mask_accuracy(masks, true, influential)
        found["mask_accuracy_chance"] = mask_accuracy_chance(true, influential)
        found["dropout_rate_estimate"] = dropped_fraction(outcome.masks, influential)
    if outcome.claimed is not None:
        x = normalisation.normalise(original).flatten(2)
        found["claimed_fraction"] = outcome.claimed.double().mean(1)
        found["worst_claim_cosine"] = worst_claim_cosine(
            x, outcome.x.to(original).flatten(2), outcome.claimed
        )
    if settings.lpips_network != "none":
        found["lpips"] = lpips(original, pixels, settings.lpips_network).mean(1)
    if settings.attacker_labels == "inferred":
        labels, classes = experiment.labels, experiment.num_classes
        found["label_accuracy"] = (experiment.problem.labels == labels).double().mean(1)
        found["label_accuracy_chance"] = label_accuracy_chance(labels, classes)
    rows: list[dict[str, Any]] = [
        dict.fromkeys(NULLABLE) | {name: v[i].tolist() for name, v in found.items()}
        for i in range(len(original))
    ]
    for number, row in enumerate(rows):
        row["pixels"] = pixels[number].numpy()
        row["stop_reason"] = outcome.stop_reason[number]
        row["notes"] = "; ".join(outcome.notes)
    return rows


def worst_claim_cosine(true: Tensor, found: Tensor, claimed: Tensor) -> Tensor:
    """Cosine (V,) between the worst claimed image and the private image nearest to it, whatever its scale and sign.

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
