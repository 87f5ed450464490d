"""The images of a batch whose gradient could be separated (:mod:`dia.attacks.mask_readout.batch_separation`).

The first layer then gives every image's direction, whatever the size of the batch. The more zeros, the more surely: up
to a point, dropout leaks more. The scale comes from what else was sent, by the first of these that applies:

1. the first layer's bias, whose gradient is the sum of the images' deltas;
2. where the whole chain was separated, each image's own gradient: a batch of N is N batches of one;
3. the next layer's inputs, or where the network is homogeneous, the logits' deltas
   (:mod:`dia.attacks.analytic.homogeneous_scale`).

Shapes: N images, R <= N of them told apart, in and out features of the first layer.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from dia.attacks.analytic import mlp
from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.homogeneous_scale import is_homogeneous, scaled_images
from dia.attacks.analytic.linear_chain import LinearChain, Link
from dia.attacks.analytic.scale_search import Box, fill_box, search
from dia.attacks.mask_readout.batch_separation import (
    LowRankFactors,
    SeparatedLayer,
    dropped_units,
    match_labels,
)


class Image(NamedTuple):
    """One image found.

    Attributes:
        inputs: (in,) of the first layer; None where its gradient contradicts it.
        masks: As :func:`dia.attacks.analytic.mlp.read_masks` returns; None where they are not known.
    """

    inputs: Tensor | None
    masks: list[Tensor | None] | None


def images_of_chain(
    layers: Sequence[SeparatedLayer],
    chain: LinearChain,
    gradients: Mapping[str, Tensor],
    labels: Tensor,
    box: Box,
    consistent: float,
) -> list[Image]:
    """The images of a fully connected network's gradient, in the order of their labels where these are told.

    Args:
        layers: The layers of the chain that were separated, from the first on.
        chain: The network.
        gradients: Received gradients of its layers by name, float64.
        labels: (N,).
        box: The pixel box.
        consistent: Largest relative residual of an exact solution.

    Returns:
        Empty where nothing but its own zeros confirms the separation.
    """
    if not layers:
        return []
    image_of_label = match_labels(layers[-1], labels) if len(layers) == len(chain.links) else None
    order = None if image_of_label is None else image_of_label.tolist()
    bias = gradients.get(f"{chain.links[0].name}.bias")
    if bias is not None:
        images = images_by_bias(layers[0].rows, bias, consistent)
        if order is None or not images:
            return images
        return [Image(images[n].inputs, _masks(layers, n)) for n in order]
    if len(layers) < 2:
        return []
    if order is not None:
        return [
            _image_by_own_gradient(layers, chain, n, int(label), box, consistent)
            for n, label in zip(order, labels, strict=True)
        ]
    if is_homogeneous(chain):
        directions = layers[0].rows.inputs.T
        return [Image(x, None) for x in scaled_images(chain, gradients, directions, len(labels), box)]
    return [
        Image(_inputs_by_next_layer(layers, chain.links[0], n, box, consistent), None)
        for n in range(layers[0].rows.inputs.shape[1])
    ]


def images_by_bias(first: LowRankFactors, bias: Tensor, consistent: float) -> list[Image]:
    """The images by the gradient of the first layer's bias, without masks and in no particular order.

    It is the sum of the images' deltas (as in SPEAR, arXiv 2403.03945), so that its coefficients in the factors
    found are the inverse scales.

    Args:
        first: Factors of the first layer.
        bias: (out,).
        consistent: Largest relative residual of an exact solution.
    """
    scales = torch.linalg.lstsq(first.deltas, bias[:, None]).solution[:, 0]
    residual = float((first.deltas @ scales - bias).norm() / bias.norm())
    if not residual <= consistent:  # nor where it is not a number
        return []
    return [Image(first.inputs[:, n] / scales[n], None) for n in range(len(scales))]


def _masks(layers: Sequence[SeparatedLayer], n: int) -> list[Tensor | None]:
    """The masks of image n between the layers, (width,) 0/1 each."""
    return [(~dropped_units(before, layer)[:, n]).double() for before, layer in pairwise(layers)]


def _image_by_own_gradient(
    layers: Sequence[SeparatedLayer],
    chain: LinearChain,
    n: int,
    label: int,
    box: Box,
    consistent: float,
) -> Image:
    """Image n, scaled so that its own gradient is its part of the batch's, with its masks."""
    direction, masks = layers[0].rows.inputs[:, n], _masks(layers, n)
    count = layers[0].rows.inputs.shape[1]
    own = {
        f"{link.name}.weight": count * torch.outer(layer.rows.deltas[:, n], layer.rows.inputs[:, n])
        for link, layer in zip(chain.links, layers, strict=True)
    }
    try:
        image, residual = mlp.find_scale(chain, direction, own, masks, label, box)
    except NotApplicable:
        residual = math.inf
    if not residual <= consistent:  # a mask is wrong, say where an activation saturates
        image = _inputs_by_next_layer(layers, chain.links[0], n, box, consistent)
    return Image(image, masks)


def _inputs_by_next_layer(
    layers: Sequence[SeparatedLayer], link: Link, n: int, box: Box, consistent: float
) -> Tensor:
    """Image n from how strongly its units fire, or where that does not tell its scale, from the pixel box.

    The next layer's inputs are known up to a factor, ``a_i = activation(c w_i . u)``: their ratios depend on c alone,
    unless the activation is homogeneous, as ReLU is.
    """
    direction, columns = layers[0].rows.inputs[:, n], layers[1].columns
    assert columns is not None
    units = columns.is_nonzero[:, n]
    along, ratios = link.weight[units] @ direction, columns.deltas[units, n]
    ratios = ratios / ratios.norm()

    def mismatch(c: Tensor) -> Tensor:
        """(K,) sine squared between the units at scale c and the ratios."""
        a = link.activate(c[:, None] * along)
        a = a / a.norm(dim=1, keepdim=True).clamp_min(torch.finfo(a.dtype).tiny)
        return (a - (a @ ratios)[:, None] * ratios).square().sum(1)

    found = search(mismatch, direction, box)
    return found[0] * direction if found and found[1] <= consistent**2 else fill_box(direction, box)
