"""Claims on a chain of linear layers: images with the masks and labels read, replayed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dia.attacks.analytic.eight_bits import are_multiples
from dia.attacks.analytic.forward_reading import ZEROS, read_forward, solve_factor
from dia.attacks.analytic.input_layers import PixelLayer
from dia.attacks.analytic.linear_chain import LinearChain
from dia.attacks.analytic.replay import (
    ACCURATE,
    UNEXPLAINED,
    Replay,
    have_same_gradients,
    is_overdetermined,
    replay,
)
from dia.attacks.mask_readout.hyperplanes import MAX_TRIES
from dia.attacks.problem import Problem
from dia.gradients.factored import FactoredGradient

IN_BOX = 1e-3
"""A pixel this far outside the box, in units of its width, may still lie at its edge."""


class Certified(NamedTuple):
    """Facts that are certain of R images.

    Attributes:
        masks, labels: Per site (R, *site.shape) bool, and (R,), with which they give the received gradient.
        replays: (R,) bool, those that do. The others' part of the gradient is too small to tell anything.
        unique: (R,) bool, those of them instead of which no other image gives it as well.
    """

    masks: list[Tensor]
    labels: Tensor
    replays: Tensor
    unique: Tensor


def certify(
    problem: Problem,
    layer: PixelLayer,
    chain: LinearChain,
    gradients: Mapping[str, Tensor],
    victim: int,
    x: Tensor,
    read: list[Tensor] | None,
) -> Certified | None:
    """Masks and labels with which images (R, C, H, W) replay, or None: then none of the images is claimed.

    Args:
        problem: The problem.
        layer: The first layer.
        chain: The network.
        gradients: What was received of its layers.
        victim: The victim's number.
        x: What would be claimed, in the model's precision.
        read: The masks as the gradient's zeros tell them, images in the order of the labels; None where they do not.
    """
    if not _is_overdetermined(chain, gradients, len(x)):
        return None
    inputs, expected = layer.inputs(x.double())[:, 0], problem.labels[victim].cpu()
    best: Certified | None = None
    for masks, labels in _readings(problem, chain, gradients, expected, inputs, read):
        found = replay(problem, victim, x, masks, labels)
        some = found.unexplained <= UNEXPLAINED
        if not bool(some.any()) or (best is not None and int(some.sum()) <= int(best.replays.sum())):
            continue
        if not bool(some.all()):  # the others would have to contribute nothing
            found = replay(problem, victim, x[some], [mask[some] for mask in masks], labels[some])
        if problem.settings.attacker_labels == "known" and not _are_among(labels[some], expected):
            continue
        if found.holds and _is_accurate(found, layer, inputs[some]):
            unique = some.clone()
            unique[some] &= ~_is_mirrored(
                problem, found, x[some], [mask[some] for mask in masks], labels[some]
            )
            best = Certified(masks, labels, some, unique)
            if bool(some.all()):
                break
    return best


def _are_among(labels: Tensor, expected: Tensor) -> bool:
    """Tell whether each of the labels is there as often as it should be."""
    classes = int(torch.cat([labels, expected]).max()) + 1
    return bool((labels.bincount(minlength=classes) <= expected.bincount(minlength=classes)).all())


def upright(problem: Problem, x: Tensor) -> Tensor:
    """Images (R, C, H, W) of two classes with the sign for which pixels are multiples of 1/255, if one of them is it.

    An odd network of two classes gives ``-x`` of one class the gradient of ``x`` of the other.
    """
    if problem.model.num_classes != 2:
        return x
    low, high = problem.low.to(x), problem.high.to(x)
    wrong = are_multiples(-x, low, high) & ~are_multiples(x, low, high)
    return torch.where(wrong[:, None, None, None], -x, x).clamp(low, high)


def _readings(
    problem: Problem,
    chain: LinearChain,
    gradients: Mapping[str, Tensor],
    expected: Tensor,
    inputs: Tensor,
    read: list[Tensor] | None,
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Masks and labels to be tried, each once."""
    if read is not None:
        yield read, expected
    tried: list[Tensor] = []
    for zero in ZEROS:
        masks, labels = read_forward(chain, gradients, inputs, zero)
        per_image = [[None if mask is None else mask[n] for mask in masks] for n in range(len(inputs))]
        by_site = masks_by_site(problem, chain, per_image)
        key = torch.cat([labels[:, None], *(mask.flatten(1).long() for mask in by_site)], 1)
        if any(torch.equal(key, other) for other in tried):
            continue
        tried.append(key)
        yield by_site, labels


def _is_overdetermined(chain: LinearChain, gradients: Mapping[str, Tensor], images: int) -> bool:
    """Tell whether the gradient says more than the images' factors can absorb.

    Any R images of the first layer's row space explain its gradient with some deltas. The network's own deltas are
    equations: one per image and unit, but for one per image at the logits, whose deltas sum to zero.
    """
    used = [int((gradients[f"{link.name}.weight"] != 0).any(1).sum()) for link in chain.links]
    return is_overdetermined(images * (sum(used) - 1), images**2, MAX_TRIES)


def _is_accurate(found: Replay, layer: PixelLayer, inputs: Tensor) -> bool:
    """Tell whether the change of the images (R, in) that would explain the rest, to first order, is small."""
    name = f"{layer.name}.weight"
    piece = found.parts[name]
    if isinstance(piece, FactoredGradient):
        deltas = piece.deltas.double().flatten(1).cpu()
    else:
        deltas = (piece.dense().double().cpu() @ inputs[:, :, None])[..., 0] / inputs.square().sum(1)[:, None]
    change = solve_factor(found.rest[name].cpu().T, found.factor * deltas)
    return bool((change.norm(dim=1) <= ACCURATE * inputs.norm(dim=1)).all())


def _is_mirrored(
    problem: Problem, found: Replay, x: Tensor, masks: Sequence[Tensor], labels: Tensor
) -> Tensor:
    """(R,) whether the negative of each image would have explained the gradient as well.

    That happens in an odd network of two classes (:func:`upright`). What tells them apart: ``-x`` is no image if it
    leaves the pixel box, or if the pixels of ``x`` are multiples of 1/255 and its own are not. And where the attacker
    knows the labels, an image can only be flipped together with one of the other class.
    """
    if problem.model.num_classes != 2:
        return torch.zeros(len(x), dtype=torch.bool)
    low, high = problem.low.to(x), problem.high.to(x)
    slack = IN_BOX * (high - low)
    possible = ((-x >= low - slack) & (-x <= high + slack)).flatten(1).all(1)
    possible &= ~(are_multiples(x, low, high) & ~are_multiples(-x, low, high))
    possible &= have_same_gradients(problem, found, -x, masks, 1 - labels)
    if problem.settings.attacker_labels == "known" and len(labels[possible].unique()) < 2:
        return torch.zeros_like(possible)
    return possible


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
