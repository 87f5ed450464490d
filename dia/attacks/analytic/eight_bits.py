"""The free part of an image whose pixels are known to be multiples of 1/255.

Equations that leave K of n pixels' dimensions free leave an image of 8 bits per pixel no freedom at all: no other one
satisfies them to rounding. Finding it is a decoding problem. A plausible filling is right about most pixels once it is
rounded, and wrong by a step or two about the others; so the image is the one whose distances to the rounded pixels
are least *in absolute value* among those that the equations allow (Candes and Tao 2005, Decoding by linear
programming), by iteratively reweighted least squares. Rounding again and repeating does the rest.
"""

import torch
from torch import Tensor

ROUNDS, REWEIGHTINGS = 10, 8
"""Roundings, and reweightings for each of them."""

NEAR = 0.1
"""A pixel nearer than this to its multiple, in steps, is on it."""


@torch.no_grad()
def snap(x: Tensor, directions: Tensor, seen: Tensor, low: Tensor, high: Tensor) -> Tensor | None:
    """The image of 8 bits per pixel that the equations allow.

    Args:
        x: (N, C, H, W) normalised, satisfies the equations.
        directions: (K, N, C, H, W) in which it may move without violating them.
        seen: (H, W) bool; the other pixels are left as they are.
        low, high: The pixel box.

    Returns:
        The image, its seen pixels exact multiples; None where none is found.
    """
    size = ((high - low) / 255).expand_as(x)
    moves = (directions / size)[..., seen].flatten(1).T  # (seen entries, K), in steps
    for _ in range(ROUNDS):
        target = low + ((x - low) / size).round().clamp(0, 255) * size
        if bool(are_multiples(x, low, high, seen).all()):
            return torch.where(seen, target, x)
        wanted = ((target - x) / size)[..., seen].flatten()
        change = torch.zeros_like(moves[0])
        for number in range(REWEIGHTINGS):
            weight = 1 / ((wanted - moves @ change).abs() + 0.5 ** (number + 1))
            gram, right = moves.T @ (weight[:, None] * moves), moves.T @ (weight * wanted)
            change = torch.linalg.lstsq(gram, right[:, None]).solution[:, 0]
        x = x + torch.einsum("k,knchw->nchw", change, directions)
    return None


def are_multiples(x: Tensor, low: Tensor, high: Tensor, seen: Tensor | None = None) -> Tensor:
    """(N,) whether all pixels of images (N, C, H, W), those that are seen, are multiples of 1/255 from low to high."""
    steps = 255 * (x - low) / (high - low)
    off = (steps - steps.round()).abs()
    return (off if seen is None else off[..., seen]).flatten(1).amax(1) < NEAR
