"""Claims on a chain of linear layers: images with the masks and labels read, replayed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dia.attacks.analytic.forward_reading import ZEROS, read_forward
from dia.attacks.analytic.input_layers import PixelLayer
from dia.attacks.analytic.linear_chain import LinearChain
from dia.attacks.analytic.replay import UNEXPLAINED, unexplained
from dia.attacks.problem import Problem


class Certified(NamedTuple):
    """Masks, per site (R, *site.shape) bool, and labels (R,) with which images give the received gradient."""

    masks: list[Tensor]
    labels: Tensor


def certify(
    problem: Problem,
    layer: PixelLayer,
    chain: LinearChain,
    gradients: Mapping[str, Tensor],
    victim: int,
    x: Tensor,
    read: list[Tensor] | None,
) -> Certified | None:
    """Masks and labels with which images (R, C, H, W) replay, or None: then the images are not claimed.

    Args:
        problem: The problem.
        layer: The first layer.
        chain: The network.
        gradients: What was received of its layers.
        victim: The victim's number.
        x: What would be claimed, in the model's precision.
        read: The masks as the gradient's zeros tell them, images in the order of the labels; None where they do not.
    """
    inputs = layer.inputs(x.double())[:, 0]
    expected = problem.labels[victim].cpu()
    if read is not None and bool((unexplained(problem, victim, x, read, expected) <= UNEXPLAINED).all()):
        return Certified(read, expected)
    tried: list[Tensor] = []
    for zero in ZEROS:
        masks, labels = read_forward(chain, gradients, inputs, zero)
        per_image = [[None if mask is None else mask[n] for mask in masks] for n in range(len(x))]
        by_site = masks_by_site(problem, chain, per_image)
        key = torch.cat([labels[:, None], *(mask.flatten(1).long() for mask in by_site)], 1)
        if any(torch.equal(key, other) for other in tried):
            continue
        tried.append(key)
        if len(labels) == len(expected) and not torch.equal(labels.sort().values, expected.sort().values):
            continue
        if bool((unexplained(problem, victim, x, by_site, labels) <= UNEXPLAINED).all()):
            return Certified(by_site, labels)
    return None


def is_mirrored(problem: Problem, chain: LinearChain, victim: int, x: Tensor, certified: Certified) -> bool:
    """Tell whether negatives of the images have the same gradient.

    An odd network of two classes gives ``-x`` of one class the gradient of ``x`` of the other. What tells them apart is
    the pixel box, or that all labels are the same.
    """
    low, high = problem.low.to(x), problem.high.to(x)
    inside = ((-x >= low) & (-x <= high)).flatten(1).all(1)
    if len(chain.links[-1].weight) != 2 or not bool(inside.any()):
        return False
    same = len(certified.labels.unique()) == 1 and problem.settings.attacker_labels == "known"
    rest = unexplained(problem, victim, -x, certified.masks, 1 - certified.labels)
    return not same and bool((rest <= UNEXPLAINED).all())


def masks_by_site(
    problem: Problem, chain: LinearChain, masks: Sequence[Sequence[Tensor | None]]
) -> list[Tensor]:
    """Per dropout site (N, *site.shape) bool, from every image's masks behind the links."""
    by_link = {link.site: number for number, link in enumerate(chain.links[:-1])}
    by_site = []
    for number, site in enumerate(problem.model.sites):
        values = [image[by_link[number]] for image in masks]
        by_site.append(torch.stack([v.bool().view(site.shape) for v in values if v is not None]))
    return by_site
