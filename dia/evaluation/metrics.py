"""Image scores of reconstructions (MSE, PSNR, SSIM), always on [0, 1] images, never on normalised ones.

V victims of N images each; every score is in float64, whatever the attack computed in.
"""

import torch
from torch import Tensor

from dia.errors import AttackError, VictimError
from dia.evaluation.assignment import align_reconstructions

PSNR_CAP = 100.0
"""dB. Identical images have an infinite PSNR, which no mean survives; 100 dB is an MSE of 1e-10."""

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
"""Pixels. Wang et al. 2004: a Gaussian cut off at 3.5 sigma.

As torchmetrics has it, SSIM is the mean over all pixels, the border seen as mirrored; scikit-image leaves out
the border of 5 pixels and gives other numbers where the border is special (MNIST's is black). Written out here,
because to import torchmetrics takes longer than all else that a short cell does.
"""

SLACK = 1e-3
"""Largest excess of a pixel over [0, 1] by rounding (float32, clipped in normalised space)."""

# Images are scored in pieces of about this many pixels, so that memory does not grow with the victims.
_PIXELS_AT_ONCE = 2**16


def scores(original: Tensor, reconstruction: Tensor, success_min_ssim: float) -> dict[str, Tensor]:
    """Score every victim; with N > 1 its reconstructions are first matched to its originals.

    Args:
        original: (V, N, C, H, W) in [0, 1]; H and W at least 11.
        reconstruction: The same shape, in [0, 1].
        success_min_ssim: An image counts as recovered from this SSIM on.

    Returns:
        float64 tensors on the device of ``original``: ``mse_per_image``, ``psnr_per_image`` (dB, at most 100)
        and ``ssim_per_image``, (V, N) in the order of the originals; ``mse``, ``psnr``, ``ssim``, (V,), their
        means over N; ``success``, (V,), the fraction of a victim's images that are recovered.

    Raises:
        AttackError: A reconstruction has values that are not finite.
        VictimError: The images are too small for SSIM.
        ValueError: Shapes differ, or values are not in [0, 1] (a normalised image, perhaps).
    """
    original, reconstruction = check_images(original, reconstruction)
    aligned = align_reconstructions(original, reconstruction)
    per_image = {
        name: values.view(original.shape[:2])
        for name, values in scores_per_image(original.flatten(0, 1), aligned.flatten(0, 1)).items()
    }
    return {
        **{f"{name}_per_image": values for name, values in per_image.items()},
        **{name: values.mean(1) for name, values in per_image.items()},
        "success": (per_image["ssim"] >= success_min_ssim).to(torch.float64).mean(1),
    }


def scores_per_image(original: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
    """Scores of pairs of images (n, C, H, W), each (n,)."""
    parts: dict[str, list[Tensor]] = {"mse": [], "psnr": [], "ssim": []}
    at_once = max(1, _PIXELS_AT_ONCE // original[0].numel())
    for a, b in zip(original.split(at_once), reconstruction.split(at_once), strict=True):
        mse = (a - b).square().mean((1, 2, 3))
        parts["mse"].append(mse)
        parts["psnr"].append((10 * mse.reciprocal().log10()).clamp(max=PSNR_CAP))
        parts["ssim"].append(_ssim(a, b))
    return {name: torch.cat(values) for name, values in parts.items()}


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of pairs of float64 images (n, C, H, W) in [0, 1], (n,); Wang et al. 2004, equation 13."""
    down, across = (_blur(length, a.device) for length in a.shape[-2:])

    def local_mean(x: Tensor) -> Tensor:
        return down @ x @ across.T

    mean_a, mean_b = local_mean(a), local_mean(b)
    # Differences of nearly equal numbers: float64, or nothing would be left of them.
    variances = (local_mean(a * a) - mean_a**2).clamp(min=0) + (local_mean(b * b) - mean_b**2).clamp(min=0)
    covariance = local_mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean((1, 2, 3))


def _blur(length: int, device: torch.device) -> Tensor:
    """The Gaussian window over ``length`` pixels with mirrored ends, as a matrix (length, length)."""
    reach = SSIM_WINDOW // 2
    offsets = torch.arange(-reach, reach + 1)
    weights = (-0.5 * (offsets.double() / SSIM_SIGMA).square()).exp()
    seen = (torch.arange(length)[:, None] + offsets).abs()  # mirrored at the first pixel,
    seen = (length - 1) - (length - 1 - seen).abs()  # and at the last
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add(1, seen, (weights / weights.sum()).expand(length, -1)).to(device)


def check_images(original: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as float64 in [0, 1], or raise what :func:`scores` says."""
    if original.shape != reconstruction.shape or original.ndim != 5 or original.numel() == 0:
        raise ValueError(
            f"original {tuple(original.shape)} and reconstruction {tuple(reconstruction.shape)} "
            "must have one shape (V, N, C, H, W)"
        )
    if min(original.shape[-2:]) < SSIM_WINDOW:
        raise VictimError(
            f"images of {original.shape[-2]}x{original.shape[-1]} pixels cannot be scored: "
            f"SSIM needs at least {SSIM_WINDOW} pixels each way"
        )
    lost = (~reconstruction.isfinite()).flatten(1).any(1).nonzero()[:, 0].tolist()
    if lost:
        raise AttackError(f"reconstruction of victim(s) {lost} has values that are not finite")
    for name, images in (("original", original), ("reconstruction", reconstruction)):
        low, high = images.min().item(), images.max().item()
        if not (low >= -SLACK and high <= 1 + SLACK):
            raise ValueError(f"{name} has values from {low:.4g} to {high:.4g}; scores need images in [0, 1]")
    return original.to(torch.float64).clamp(0, 1), reconstruction.to(torch.float64).clamp(0, 1)
