"""The part of an image that the equations leave free, filled by a convex programme: plausible, never claimed.

Among the images that satisfy the equations, that of the least total variation that stays in the pixel box and keeps
the inactive units inactive, both as quadratic penalties. Pixels that no equation sees move freely.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dia.attacks.analytic.conv_chain import Stage
from dia.attacks.analytic.layer_equations import LayerInput

SMOOTH = 0.01
"""Differences of neighbouring pixels below this are squared in the total variation (normalised units)."""

PENALTIES = (10.0, 1000.0)
"""Weights of what is outside the box or active against its will, one after the other."""

ITERATIONS = 150
"""Of L-BFGS for each of them."""


def fill(
    found: LayerInput, stage: Stage, seen: Tensor, inactive: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """The image (N, C, H, W) with its free part filled.

    Args:
        found: The first layer's input; where it has no openness, only unseen pixels are filled.
        stage: The first layer.
        seen: (H, W) bool, the pixels that anything depends on; the others continue their neighbours.
        inactive: (N, U) bool, units behind it that are not positive.
        low, high: The pixel box, broadcastable to the image.
    """
    if found.openness is None:
        return extended(found.value, seen)
    from scipy.optimize import minimize  # half a second, which other attacks are spared

    openness, shape, start = found.openness, found.value.shape, found.value

    def image(change: Tensor) -> Tensor:
        return start + openness(change)

    def penalty(x: Tensor) -> Tensor:
        outside = (low - x).clamp_min(0).square().sum() + (x - high).clamp_min(0).square().sum()
        return outside + (stage.units(x) * inactive).clamp_min(0).square().sum()

    change = torch.zeros_like(start)
    for weight in PENALTIES:

        def loss(flat, weight=weight):  # type: ignore[no-untyped-def]
            at = torch.from_numpy(flat).view(shape).to(start).requires_grad_()
            with torch.enable_grad():
                x = image(at)
                value = smooth_total_variation(x, seen) + weight * penalty(x)
                (slope,) = torch.autograd.grad(value, at)
            return float(value.detach()), slope.flatten().cpu().numpy()

        begin = change.flatten().cpu().numpy()
        result = minimize(
            loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS, "maxcor": 20}
        )
        change = torch.from_numpy(result.x).view(shape).to(start)
    return extended(image(change), seen)


def smooth_total_variation(x: Tensor, seen: Tensor) -> Tensor:
    """Huber losses of the differences between seen neighbouring pixels, about the sum of their sizes."""
    across, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    across, down = across * (seen[:, 1:] & seen[:, :-1]), down * (seen[1:] & seen[:-1])
    losses = [F.huber_loss(d, torch.zeros_like(d), reduction="sum", delta=SMOOTH) for d in (across, down)]
    return (losses[0] + losses[1]) / SMOOTH


def extended(x: Tensor, seen: Tensor) -> Tensor:
    """``x`` with every unseen pixel set to the mean of its neighbours that are seen or set already."""
    if not bool(seen.any()):
        return x
    known = seen.to(x)
    x = x * known
    kernel = x.new_ones(1, 1, 3, 3)
    while not bool(known.all()):
        count = F.conv2d(known[None, None], kernel, padding=1)[0, 0]
        sums = F.conv2d(x.flatten(0, 1)[:, None], kernel, padding=1).view_as(x)
        fresh = (known == 0) & (count > 0)
        x = torch.where(fresh, sums / count.clamp_min(1), x)
        known = torch.where(fresh, torch.ones_like(known), known)
    return x
