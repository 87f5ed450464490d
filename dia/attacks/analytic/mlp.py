"""One image from the gradient of a fully connected network.

A layer's weight gradient is the outer product ``delta a^T``. A dropped unit therefore has a zero row in the layer
before it and a zero column in the layer behind it: the masks are read off. The first layer's gradient ``delta_1 x^T``
has rank 1, so the image is known up to a scalar c. With a bias c is read off as well, since ``dL/db_1 = delta_1``
(Phong et al. 2018); without one, a one-dimensional search finds the c whose whole gradient, with the masks just read
off, is the received one: one unknown where R-GAP (Zhu and Blaschko 2021, arXiv 2010.07733) solves a linear system per
layer, without dropout, for activations that can be inverted.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.linear_chain import LinearChain
from dia.attacks.analytic.scale_search import Box, search

INCONSISTENT = 1e-4
"""Relative distance from which a gradient is taken to have been scaled."""

MIN_DROPPED = 40
"""Expected dropped units below which a noise floor cannot be told from short rows."""


class RankOne(NamedTuple):
    """A gradient ``deltas inputs^T`` of rank 1.

    Attributes:
        inputs: (in,) float64, a unit vector.
        deltas: (out,).
        residual: Relative distance of the matrix from that product.
    """

    inputs: Tensor
    deltas: Tensor
    residual: float


def factor_rank_one(gradient: Tensor) -> RankOne:
    """Factor a matrix (out, in) of rank 1, in float64.

    Two power iterations from the largest row: exact at once for rank 1, and averaging the rounding of all
    rows.

    Raises:
        NotApplicable: The matrix is zero, or not finite.
    """
    norms = gradient.norm(dim=1)
    if not 0 < float(norms.max()) < float("inf"):
        zero = float(norms.max()) == 0
        raise NotApplicable(f"the first layer's gradient is {'zero' if zero else 'not finite'}")
    u = gradient[norms.argmax()]
    for _ in range(2):
        u = u / u.norm()
        u = gradient.T @ (gradient @ u)
    u = u / u.norm()
    deltas = gradient @ u
    return RankOne(u, deltas, float((gradient - deltas[:, None] * u).norm() / gradient.norm()))


def read_masks(chain: LinearChain, gradients: Mapping[str, Tensor]) -> list[Tensor | None]:
    """The dropout masks of one image behind every link but the last, (width,) float64; None without dropout.

    A unit is kept where its row in the layer before or its column in the layer behind is not zero, or above what
    noise makes of zero: one of them may vanish for a saturated activation.
    """
    masks: list[Tensor | None] = []
    for link, following in pairwise(chain.links):
        if link.site is None:
            masks.append(None)
            continue
        row = _above_noise(gradients[f"{link.name}.weight"], link.rate)
        column = _above_noise(gradients[f"{following.name}.weight"].T, link.rate)
        masks.append((row | column).double())
    return masks


def _above_noise(rows: Tensor, p: float) -> Tensor:
    """(units,) bool, which rows are clearly longer than the short half of those that were dropped, a fraction p.

    The floor is exactly 0 in a gradient that nobody altered. With few units it is taken for 0: the number of
    dropped ones then varies too much.
    """
    units, length = rows.shape
    norms = rows.norm(dim=1)
    if units * p < MIN_DROPPED:
        return norms > 0
    floor = norms.sort().values[int(units * p / 2)]
    return norms > floor * (1 + 5 / (2 * length) ** 0.5)


def find_scale(
    chain: LinearChain,
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
        The image (in,), and how far, relatively, its gradient is from the received one: in length and direction,
        or in direction where the length does not fit.

    Raises:
        NotApplicable: No scale is better than others.
    """
    received = [gradients[f"{link.name}.weight"] for link in chain.links]
    total = sum(float(g.square().sum()) for g in received)
    along, first = received[0] @ u, chain.links[0].weight @ u

    def terms(c: Tensor) -> tuple[Tensor, Tensor]:
        """(K,) ``|g(c)|^2`` and ``<g(c), g*>``, both over ``|g*|^2``, from factors: no matrix is formed."""
        inputs, deltas = chain.backward(c[:, None] * first, masks, label)
        square, product = c.square() * deltas[0].square().sum(1), c * (deltas[0] @ along)
        for a, delta, g in zip(inputs, deltas[1:], received[1:], strict=True):
            square = square + a.square().sum(1) * delta.square().sum(1)
            product = product + ((a @ g.T) * delta).sum(1)
        return square / total, product / total

    def distance(c: Tensor) -> Tensor:
        """``|g(c) - g*|^2 / |g*|^2``: for a gradient of its own length."""
        square, product = terms(c)
        return square - 2 * product + 1

    def sine(c: Tensor) -> Tensor:
        """``sin^2`` between g(c) and g*: for one that was scaled, say clipped."""
        square, product = terms(c)
        return 1 - product * product.abs() / square

    found = search(distance, u, box)
    if found is None:
        raise NotApplicable("the gradient does not depend on the image's scale")
    if found[1] ** 0.5 > INCONSISTENT and (other := search(sine, u, box)) and other[1] < found[1] / 2:
        found = other
    return found[0] * u, found[1] ** 0.5
