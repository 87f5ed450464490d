"""Chance levels: scores that an attacker reaches without recovering anything."""

import numpy as np
import torch
from torch import Tensor

from dia.datasets.victim_set import VictimSet
from dia.evaluation.metrics import check_images, scores_per_image

CHANCE_LEVELS = tuple(
    f"{score}_{guess}" for guess in ("mean_image", "same_class") for score in ("mse", "psnr", "ssim")
)
"""The names of the levels."""


def chance_levels(victim_set: VictimSet, victims: int, batch_size: int) -> dict[str, Tensor]:
    """Chance scores (V,) of each victim, the mean over its images; see :func:`chance_per_image`.

    Args:
        victim_set: The whole set, which the mean image and the other images of a class are taken from.
        victims: Number of victims V, the first ones of the set.
        batch_size: Images N of a victim.
    """
    levels = chance_per_image(*victim_set.tensors())
    return {name: v[: victims * batch_size].view(victims, -1).mean(1) for name, v in levels.items()}


def chance_per_image(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Score guesses that need no attack: the mean image of the victim set, and another image of the same class.

    The mean is over all images given, the scored one included. The other image is the next one of its class
    in the order given, the first one following the last.

    Args:
        images: All images of the victim set, (n, C, H, W) in [0, 1]; H and W at least 11.
        labels: Their classes, integers (n,).

    Returns:
        float64 (n,) tensors ``{mse,psnr,ssim}_{mean_image,same_class}``; NaN where there is nothing to
        compare with: the mean of a single image, an image alone in its class.

    Raises:
        VictimError: The images are too small for SSIM.
        ValueError: Shapes do not fit, or values are not in [0, 1].
    """
    images = check_images(images[None], images[None])[0][0]
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels have shape {tuple(labels.shape)}, not ({len(images)},)")
    following = torch.arange(len(images))
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0].cpu()
        following[members] = members.roll(-1)
    alone = (following == torch.arange(len(images))).to(images.device)
    levels = {}
    for name, guess, meaningless in (
        ("mean_image", images.mean(0).expand_as(images), torch.full_like(alone, len(images) == 1)),
        ("same_class", images[following.to(images.device)], alone),
    ):
        for score, values in scores_per_image(images, guess).items():
            levels[f"{score}_{name}"] = values.masked_fill(meaningless, torch.nan)
    return levels


def label_accuracy_chance(labels: Tensor, num_classes: int) -> Tensor:
    """Expected fraction (V,) of a victim's labels (V, N) found by drawing N classes at random.

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
