"""Identification: does a reconstruction tell its private image from all others of the cell?

SSIM compares local structure and contrast: a legible but noisy digit may score below the mean image. Which of the
cell's images a reconstruction is nearest to (by MSE) asks for less, and answers whether anything of this one was
recovered.
"""

import torch
from torch import Tensor

TIE = 1e-12
"""MSE by which two private images may differ in their distance and still count as equally near."""


def identified(original: Tensor, reconstruction: Tensor, candidates: Tensor) -> Tensor:
    """Fraction (V,) of a victim's images that are the nearest candidate (by MSE) to one of its reconstructions.

    Of several candidates that are equally near, doubled images say, each counts.

    Args:
        original: (V, N, C, H, W) in [0, 1].
        reconstruction: The same shape, in any order.
        candidates: (W, N, C, H, W) the private images of all victims of the cell, those of ``original`` among them.
    """
    everyone = candidates.to(torch.float64).flatten(0, 1).flatten(1)
    squares = everyone.square().sum(1)
    fractions = []
    for own, found in zip(*(x.to(torch.float64).flatten(2) for x in (original, reconstruction)), strict=True):
        # |a - b|^2 but for |b|^2, which is the same for all candidates a of a reconstruction b.
        nearest = (squares - 2 * found @ everyone.T).amin(1)
        distances = own.square().sum(1) - 2 * found @ own.T
        is_nearest = distances <= nearest[:, None] + TIE * own.shape[1]
        fractions.append(is_nearest.any(0).to(torch.float64).mean())
    return torch.stack(fractions)


def identified_chance(original: Tensor, candidates: Tensor) -> Tensor:
    """The same (V,), expected for reconstructions whose nearest candidates are drawn at random.

    One of N draws hits a given one of W N candidates with probability ``1 - (1 - 1 / (W N))^N``, which is 1 / W for
    single images.
    """
    images, total = original.shape[1], candidates.shape[0] * candidates.shape[1]
    chance = 1 - (1 - 1 / total) ** images
    return torch.full((len(original),), chance, dtype=torch.float64, device=original.device)
