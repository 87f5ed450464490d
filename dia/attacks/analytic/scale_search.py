"""The scale of an image whose direction is known: a one-dimensional search inside the pixel box."""

from collections.abc import Callable

import torch
from torch import Tensor

CANDIDATES = 24
"""Scales tried on each side of zero before the search is refined."""

SLACK = 1.001
"""The search goes this far beyond the box: a pixel at its end has a rounding error too."""

Box = tuple[Tensor, Tensor]
"""Lowest and highest value of each input, (in,), with low <= 0 <= high."""


def max_scale_in_box(u: Tensor, box: Box) -> float:
    """The largest c >= 0 for which ``c u`` stays in the box."""
    reach = torch.where(u > 0, box[1], box[0]) / u
    return float(reach[u != 0].min())


def search(mismatch: Callable[[Tensor], Tensor], u: Tensor, box: Box) -> tuple[float, float] | None:
    """The c of least mismatch among those that keep ``c u`` in the box, and that mismatch.

    Args:
        mismatch: (K,) scales to (K,) numbers, in relative squares: at most about 1.
        u: (in,) unit direction.
        box: The pixel box.

    Returns:
        None where the mismatch does not depend on c.
    """
    steps = torch.linspace(0, 1, CANDIDATES + 1, dtype=u.dtype, device=u.device)[1:] * SLACK
    tried = torch.cat([-max_scale_in_box(-u, box) * steps.flip(0), max_scale_in_box(u, box) * steps])
    losses = mismatch(tried)
    if int((losses < 1e-9).sum()) > CANDIDATES // 4:
        return None
    from scipy.optimize import minimize_scalar  # half a second, which other attacks are spared

    best = int(losses.argmin())
    ends = float(tried[max(0, best - 1)]), float(tried[min(len(tried) - 1, best + 1)])
    found = minimize_scalar(
        lambda c: float(mismatch(u.new_tensor([c]))),
        bounds=ends,
        method="bounded",
        options={"xatol": 1e-12 * abs(float(tried[best])), "maxiter": 100},
    )
    return float(found.x), max(0.0, float(found.fun))


def fill_box(u: Tensor, box: Box) -> Tensor:
    """An image along ``u`` that fills as much of the pixel box as it can: sign and scale are guesses.

    Most photographs have a nearly black and a nearly white pixel; only the right sign lets both touch the
    box.
    """
    images = [sign * max_scale_in_box(sign * u, box) * u for sign in (1.0, -1.0)]
    return max(images, key=lambda image: float(image.max() - image.min()))
