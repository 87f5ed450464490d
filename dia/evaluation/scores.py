"""Score an attack's outcome against the truth that the attack never sees: the score columns of the results."""

from typing import Any

import torch
from torch import Tensor

from dia.attacks.label_inference import certain_labels
from dia.attacks.optimisation.objective import perfect_match_distance
from dia.attacks.outcome import Outcome
from dia.attacks.stop_reasons import is_scored
from dia.evaluation.assignment import align_reconstructions
from dia.evaluation.chance_levels import label_accuracy_chance
from dia.evaluation.experiment import Experiment
from dia.evaluation.identification import identified, identified_chance
from dia.evaluation.lpips import lpips
from dia.evaluation.mask_recovery import align_masks, dropped_fraction, mask_accuracy, mask_accuracy_chance
from dia.evaluation.metrics import scores
from dia.evaluation.row_notes import HIDDEN_MATCH, LABEL_UNCERTAIN, NOTED_SHIFT

OF_RECONSTRUCTIONS = (
    "mse",
    "psnr",
    "ssim",
    "success",
    "mse_per_image",
    "psnr_per_image",
    "ssim_per_image",
    "mse_normalised",
    "matching_distance",
    "total_loss",
    "best_iteration",
    "identified",
)
"""Scores of reconstructions: a victim without one has none of them, one without private images the distances alone."""

NULLABLE = (
    *OF_RECONSTRUCTIONS,
    "gradient_norm",
    "identified_chance",
    "lpips",
    "mask_accuracy",
    "mask_accuracy_chance",
    "dropout_rate_estimate",
    "claimed_fraction",
    "worst_claim_cosine",
    "label_accuracy",
    "label_accuracy_chance",
)
"""Scores that not every victim and not every attack has."""

Row = dict[str, Any]


def score(experiment: Experiment, outcome: Outcome) -> list[Row]:
    """Score every victim of the cell, in order.

    Args:
        experiment: What was attacked.
        outcome: What the attack ended with.

    Returns:
        For every victim the score columns of its row, None for those in :data:`NULLABLE` that it does not have, and
        under ``"pixels"`` its reconstructions (N, C, H, W) in [0, 1], in the order of the private images; None where
        it has no reconstruction (see :func:`dia.attacks.stop_reasons.is_scored`).
    """
    rows = {number: _unattacked(reason) for number, reason in experiment.failed.items()}
    for position, number in enumerate(experiment.numbers):
        rows[number] = _of_victim(experiment, outcome, position)
    scored = [position for position, reason in enumerate(outcome.stop_reason) if is_scored(reason)]
    true = [position for position in scored if experiment.has_original[position]]
    for scores_of, positions in ((_of_reconstruction, scored), (_against_truth, true)):
        if not positions:
            continue
        found = scores_of(experiment, outcome, torch.tensor(positions, dtype=torch.int64))
        for place, position in enumerate(positions):
            row = rows[experiment.numbers[position]]
            row |= {name: values[place].tolist() for name, values in found.items() if name != "pixels"}
            row["pixels"] = found["pixels"][place].numpy()
    return [rows[number] for number in sorted(rows)]


def _unattacked(reason: str) -> Row:
    """The row of a victim that was never attacked."""
    nothing: Row = {"iterations": 0, "restart": 0, "seconds": 0.0, "notes": "", "pixels": None}
    return dict.fromkeys(NULLABLE) | nothing | {"stop_reason": reason}


def _of_victim(experiment: Experiment, outcome: Outcome, position: int) -> Row:
    """The columns of a victim that need no reconstruction."""
    problem = experiment.problem
    row: Row = dict.fromkeys(NULLABLE) | {"pixels": None, "stop_reason": outcome.stop_reason[position]}
    row |= {name: getattr(outcome, name)[position].item() for name in ("iterations", "restart", "seconds")}
    norm = problem.received.norm[position]
    row["gradient_norm"] = norm.item()
    hidden = float(perfect_match_distance(norm, problem.settings.cosine_epsilon)) > NOTED_SHIFT
    remarks = [*experiment.remarks.get(experiment.numbers[position], ())]
    distance, limit = float(outcome.matching_distance[position]), experiment.doubted_from
    if is_scored(outcome.stop_reason[position]) and limit is not None and distance > limit:
        remarks.append(f"the images do not explain the update: its matching distance is above {limit:g}")
    if hidden:
        remarks.append(HIDDEN_MATCH)
    if problem.settings.attacker_labels == "inferred":
        own = problem.received.select(torch.tensor([position]))
        images, classes = problem.labels.shape[1], experiment.num_classes
        if images == 1 and not bool(certain_labels(problem.model.model, own, images, classes)):
            remarks.append(LABEL_UNCERTAIN)
    row["notes"] = "; ".join([*outcome.notes, *remarks])
    if problem.settings.attacker_labels == "inferred" and experiment.has_original[position]:
        labels = experiment.labels[position : position + 1]
        right = problem.labels[position : position + 1] == labels
        row["label_accuracy"] = right.double().mean().item()
        row["label_accuracy_chance"] = label_accuracy_chance(labels, experiment.num_classes).item()
    return row


def _of_reconstruction(experiment: Experiment, outcome: Outcome, victims: Tensor) -> dict[str, Tensor]:
    """Values without private images, and pixels, (K, ...) each, of some victims ((K,) positions in the outcome)."""
    found = {
        name: getattr(outcome, name)[victims]
        for name in ("total_loss", "matching_distance", "best_iteration")
    }
    if outcome.claimed is not None:
        found["claimed_fraction"] = outcome.claimed[victims].double().mean(1)
    pixels = experiment.normalisation.to_pixels(outcome.x[victims])
    return found | {"pixels": pixels.to(experiment.original).clamp(0, 1)}


def _against_truth(experiment: Experiment, outcome: Outcome, victims: Tensor) -> dict[str, Tensor]:
    """The scores and the pixels in the order of the private images, likewise."""
    original, settings = experiment.original[victims], experiment.problem.settings
    x = outcome.x[victims]
    pixels = experiment.normalisation.to_pixels(x).to(original)
    found = scores(original, pixels, settings.success_min_ssim)
    pixels = found["pixels"] = align_reconstructions(original, pixels)
    normalisation = experiment.normalisation.to(original)
    candidates = experiment.all_originals
    candidates = candidates[candidates.flatten(1).isfinite().all(1)]
    found["identified"] = identified(original, pixels, candidates)
    found["identified_chance"] = identified_chance(original, candidates)
    found["mse_normalised"] = ((pixels - original) / normalisation.std).square().flatten(1).mean(1)
    if outcome.masks is not None and experiment.true_masks is not None:
        true, influential = (
            [site[victims] for site in sites]
            for sites in (experiment.true_masks, experiment.influential_entries)
        )
        masks = align_masks([mask[victims] for mask in outcome.masks], true, experiment.labels[victims])
        found["mask_accuracy"] = mask_accuracy(masks, true, influential)
        found["mask_accuracy_chance"] = mask_accuracy_chance(true, influential)
        found["dropout_rate_estimate"] = dropped_fraction(
            [mask[victims] for mask in outcome.masks], influential
        )
    if outcome.claimed is not None:
        claimed, true_x = outcome.claimed[victims], normalisation.normalise(original).flatten(2)
        found["worst_claim_cosine"] = worst_claim_cosine(true_x, x.to(original).flatten(2), claimed)
    if settings.lpips_network != "none":
        found["lpips"] = lpips(original, pixels, settings.lpips_network).mean(1)
    return found


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
