"""One image from the gradient of a fully connected network.

A layer's weight gradient is the outer product delta a^T. A dropped unit therefore has a zero row in the layer
before it and a zero column in the layer behind it: the masks are read off. The first layer's gradient
delta_1 x^T has rank 1, so the image is known up to a scalar c. With a bias c is read off as well, since
dL/db_1 = delta_1 (Phong et al. 2018); without one, a one-dimensional search finds the c whose whole gradient,
with the masks just read off, is the received one.
"""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from dia.attacks.analytic.chain import Chain
from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.scale import Box, search


class Direction(NamedTuple):
    """``left direction^T`` of rank 1, ``direction`` a unit vector, and how far a matrix is from it."""

    direction: Tensor
    left: Tensor
    residual: float


def direction(gradient: Tensor) -> Direction:
    """The right singular direction of a matrix (out, in) of rank 1, in float64.

    Two power iterations from the largest row: exact at once for rank 1, and averaging the rounding of all
    rows.

    Raises:
        NotApplicable: The matrix is zero.
    """
    norms = gradient.norm(dim=1)
    if not float(norms.max()) > 0:
        raise NotApplicable("the first layer's gradient is zero")
    u = gradient[norms.argmax()]
    for _ in range(2):
        u = u / u.norm()
        u = gradient.T @ (gradient @ u)
    u = u / u.norm()
    left = gradient @ u
    total = gradient.norm()
    return Direction(u, left, float((gradient - left[:, None] * u).norm() / total))


def read_masks(chain: Chain, gradients: Mapping[str, Tensor]) -> list[Tensor | None]:
    """The dropout masks of one image behind every link but the last, (width,) float64; None without dropout.

    A unit is kept where its row in the layer before or its column in the layer behind has a non-zero entry:
    one of them may vanish for a saturated activation.
    """
    masks: list[Tensor | None] = []
    for link, following in zip(chain.links, chain.links[1:], strict=False):
        if link.site is None:
            masks.append(None)
            continue
        row = (gradients[f"{link.name}.weight"] != 0).any(1)
        column = (gradients[f"{following.name}.weight"] != 0).any(0)
        masks.append((row | column).double())
    return masks


def scaled(
    chain: Chain,
    u: Tensor,
    gradients: Mapping[str, Tensor],
    masks: list[Tensor | None],
    label: int,
    box: Box,
) -> tuple[Tensor, float]:
    """The image ``c u`` whose gradient is the received one.

    Args:
        chain: The network; its first layer has no bias.
        u: (in,) direction of the image.
        gradients: The received weight gradients by name, float64.
        masks: As read off.
        label: The image's class.
        box: The pixel box.

    Returns:
        The image (in,), and the relative distance ``|g(c) - g*| / |g*|`` of its gradient from the received.

    Raises:
        NotApplicable: No scale is better than others.
    """
    received = [gradients[f"{link.name}.weight"] for link in chain.links]
    total = sum(float(g.square().sum()) for g in received)
    along, first = received[0] @ u, chain.links[0].weight @ u

    def mismatch(c: Tensor) -> Tensor:
        """(K,) ``|g(c) - g*|^2 / |g*|^2`` from factors: no gradient matrix is formed."""
        inputs, deltas = chain.backward(c[:, None] * first, masks, label)
        found = c.square() * deltas[0].square().sum(1) - 2 * c * (deltas[0] @ along)
        for a, delta, g in zip(inputs, deltas[1:], received[1:], strict=True):
            found = found + a.square().sum(1) * delta.square().sum(1) - 2 * ((a @ g.T) * delta).sum(1)
        return found / total + 1

    found = search(mismatch, u, box)
    if found is None:
        raise NotApplicable("the gradient does not depend on the image's scale")
    return found[0] * u, found[1] ** 0.5
