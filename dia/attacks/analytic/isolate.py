"""Single images of a batch, isolated by dropout in a fully connected network.

The first layer's weight gradient of N images is ``sum_n delta_n x_n^T``. With dropout some of its rows belong
to units that only one image kept: they are all multiples of that image, and so of each other, which no other
rows are. The more dropout, the more such rows (a share ``(1 - p) p^(N - 1)`` of the units for each image): up
to a point, dropout leaks more.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dia.attacks.analytic.chain import Link
from dia.attacks.analytic.scale import Box, search

COLLINEAR = 1e-6
"""Largest sine between two rows taken for collinear; float32 rounding gives 1e-7, another image far more."""

CONSISTENT = 1e-4
"""Largest sine between the units' ratios and those that the found scale gives."""


@dataclass(frozen=True)
class Isolated:
    """One image found in the rows of the first layer's gradient.

    Attributes:
        direction: (in,) unit vector, up to sign the image's direction.
        rows: Numbers of the collinear rows.
        left: Their lengths along ``direction``, signed.
    """

    direction: Tensor
    rows: Tensor
    left: Tensor


def isolated(gradient: Tensor) -> list[Isolated]:
    """Groups of at least two collinear rows of a float64 matrix (out, in), largest first."""
    norms = gradient.norm(dim=1)
    live = torch.nonzero(norms > 1e-12 * norms.max()).flatten()
    if not len(live) or float(norms.max()) == 0:
        return []
    unit = gradient[live] / norms[live, None]
    # 1 - cos of a small angle is half its square, which float64 resolves down to angles of 1e-8.
    together = (unit @ unit.T).abs() > 1 - COLLINEAR**2 / 2
    found = []
    while int((counts := together.sum(1)).max()) > 1:
        leader = int(counts.argmax())
        members = together[leader].clone()
        together[members] = False
        together[:, members] = False
        rows = live[members]
        u = unit[leader]
        for _ in range(2):
            u = gradient[rows].T @ (gradient[rows] @ u)
            u = u / u.norm()
        found.append(Isolated(u, rows, gradient[rows] @ u))
    return found


def single(image: Isolated, bias: Tensor | None, following: Tensor | None) -> bool:
    """Whether what else was sent agrees that these units saw one image alone.

    Rows of two images may be collinear by chance (of 512 directions in a plane some are). But the bias
    gradient of one image is proportional to its rows, and the next layer's columns at its units,
    ``delta_2 a_i``, are collinear.

    Args:
        image: What was isolated.
        bias: Gradient of the first layer's bias (out,), or None.
        following: Gradient of the next layer's weight (classes or units, out), or None.
    """
    if bias is not None:
        delta = bias[image.rows]
        across = image.left - (image.left @ delta) / delta.square().sum() * delta
        return bool(across.norm() < CONSISTENT * image.left.norm())
    if following is not None:
        values = torch.linalg.svdvals(following[:, image.rows])
        return len(values) > 1 and bool(values[1] < CONSISTENT * values[0])
    return len(image.rows) > 2


def scaled_by_bias(image: Isolated, bias: Tensor) -> Tensor:
    """The image, sign included: its rows are ``delta_i x``, and the bias gradient has the ``delta_i``."""
    delta = bias[image.rows]
    return image.direction * (image.left @ delta) / delta.square().sum()


def scaled_by_units(image: Isolated, link: Link, following: Tensor, box: Box) -> Tensor | None:
    """The image from how strongly its units fire.

    The columns of the next layer's gradient at the isolated units are ``delta_2 a_i`` with
    ``a_i = activation(c w_i . u)``: their ratios depend on c alone.

    Args:
        image: What was isolated.
        link: The first layer, without bias.
        following: Gradient of the next layer's weight (out, units), float64.
        box: The pixel box.

    Returns:
        The image (in,); None where the ratios do not tell the scale (homogeneous activations such as ReLU).
    """
    along = link.weight[image.rows] @ image.direction
    ratios = torch.linalg.svd(following[:, image.rows], full_matrices=False)[2][0]

    def mismatch(c: Tensor) -> Tensor:
        """(K,) sine squared between the units at scale c and the ratios."""
        a = link.activate(c[:, None] * along)
        a = a / a.norm(dim=1, keepdim=True).clamp_min(torch.finfo(a.dtype).tiny)
        return (a - (a @ ratios)[:, None] * ratios).square().sum(1)

    found = search(mismatch, image.direction, box)
    if found is None or found[1] > CONSISTENT**2:
        return None
    return found[0] * image.direction
