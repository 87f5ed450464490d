"""The result of an inversion, and its comparison with the truth where someone has that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dia.evaluation.assignment import assign_reconstructions
from dia.evaluation.metrics import check_images, scores_per_image


@dataclass(frozen=True)
class Scores:
    """Scores of N reconstructions, each (N,) float64 in the order of the private images.

    Attributes:
        ssim, psnr, mse: On [0, 1] images; PSNR in dB, at most 100.
        order: (N,) int64: entry i is the position of the reconstruction that was assigned to private image i.
    """

    ssim: Tensor
    psnr: Tensor
    mse: Tensor
    order: Tensor


@dataclass(frozen=True)
class Twin:
    """A made-up client in the same setting, attacked in the same way: does this setting leak at all?

    Attributes:
        images: (N, C, H, W) what was recovered, in [0, 1].
        private: (N, C, H, W) its true images, in [0, 1].
        scores: Of ``images``.
        distance: The matching distance that the attack ended with.
        stop_reason: Why it ended.
    """

    images: Tensor
    private: Tensor
    scores: Scores
    distance: float
    stop_reason: str


@dataclass(frozen=True)
class Inversion:
    """The result of an attack on one client's update.

    Attributes:
        images: (N, C, H, W) reconstructions in [0, 1], float32 on the CPU. A gradient says nothing about their order.
        masks: By dropout module (with call and local step where there are several) (N, *shape) bool, True where an
            entry was kept; empty where the attack recovers none.
        labels: (N,) as known or inferred.
        distance: The matching distance in [0, 2], 0 where the images explain the update exactly.
        iterations: Iterations made.
        claimed: (N,) bool, images that the attack proved to be private ones; None where it cannot prove any.
        stop_reason: See :mod:`dia.attacks.stop_reasons`.
        warnings: What speaks against believing the pictures, or was odd about the update.
        notes: Remarks of the attack itself.
        gradient_norms: The norm of every parameter's gradient, by name.
        settings: The settings of the attack.
        seconds: Time that the attack took.
        twin: The made-up client that was attacked first; None where it was not asked for.
    """

    images: Tensor = field(repr=False)
    masks: Mapping[str, Tensor] = field(repr=False)
    labels: Tensor
    distance: float
    iterations: int
    claimed: Tensor | None
    stop_reason: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    gradient_norms: Mapping[str, float] = field(repr=False)
    settings: Mapping[str, Any] = field(repr=False)
    seconds: float = 0.0
    twin: Twin | None = field(default=None, repr=False)


def score(images: Tensor, private: Tensor) -> Scores:
    """Compare reconstructions with the private images, matched one to one so that the sum of the MSEs is least.

    Args:
        images: (N, C, H, W) in [0, 1], H and W at least 11, such as :attr:`Inversion.images`; (C, H, W) for one.
        private: The same shape, in any order.

    Raises:
        ValueError: Shapes differ, or values are not in [0, 1] (normalised images, perhaps).
        VictimError: The images are too small for SSIM.
    """
    found, true = (torch.as_tensor(x) for x in (images, private))
    if found.shape != true.shape or found.ndim not in (3, 4):
        raise ValueError(
            f"images are {tuple(found.shape)} and the private ones {tuple(true.shape)}; both must be (N, C, H, W), or "
            "(C, H, W), and of one shape"
        )
    found, true = (x.reshape(-1, *x.shape[-3:]) for x in (found, true))
    true, found = check_images(true[None], found[None])
    order = assign_reconstructions(true, found)[0]
    return Scores(**scores_per_image(true[0], found[0][order]), order=order)
