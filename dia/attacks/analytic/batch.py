"""The images of a batch, once dropout has taken its gradient apart (:mod:`dia.attacks.mask_readout.batch_separation`).

The first layer then gives every image's direction, whatever the size of the batch, and the more dropout, the more
surely: up to a point, dropout leaks more. The scale comes from what else was sent.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from dia.attacks.analytic import mlp
from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.linear_chain import LinearChain, Link
from dia.attacks.analytic.scale_search import Box, fill_box, search
from dia.attacks.mask_readout import batch_separation


class Image(NamedTuple):
    """One image found.

    Attributes:
        inputs: (in,) of the first layer; None where its gradient contradicts it.
        masks: As :func:`dia.attacks.analytic.mlp.read_masks` returns; None where they are not known.
    """

    inputs: Tensor | None
    masks: list[Tensor | None] | None


def images(
    layers: Sequence[batch_separation.SeparatedLayer],
    chain: LinearChain | None,
    bias: Tensor | None,
    labels: Tensor,
    box: Box,
    consistent: float,
) -> list[Image]:
    """The images that a gradient was taken apart into, in the order of their labels where these are told.

    A bias, which is the sum of the first layer's deltas, tells every scale; else the gradient of a single image does,
    where the whole chain was taken apart; else the next layer, or the pixel box.

    Args:
        layers: As far as the chain was taken apart.
        chain: The network, or None where it is no chain.
        bias: Gradient of the first layer's bias (out,), or None.
        labels: (N,).
        box: The pixel box.
        consistent: Largest relative residual of an exact solution.
    """
    if not layers or (bias is None and (chain is None or len(layers) < 2)):
        return []  # hyperplanes that nothing else confirms
    found = layers[0].rows
    everything = range(found.inputs.shape[1])
    order = (
        batch_separation.match_labels(layers[-1], labels)
        if chain is not None and len(layers) == len(chain.links)
        else None
    )
    whole = [] if order is None else order.tolist()
    masks: dict[int, list[Tensor | None]] = {}
    for n in whole:
        masks[n] = [_mask(before, layer, n) for before, layer in pairwise(layers)]
    if bias is not None:
        sizes = torch.linalg.lstsq(found.deltas, bias[:, None]).solution[:, 0]
        if float((found.deltas @ sizes - bias).norm()) > consistent * float(bias.norm()):
            return []
        return [Image(found.inputs[:, n] / sizes[n], masks.get(n)) for n in whole or everything]
    assert chain is not None
    if whole:
        return [
            Image(_by_gradient(layers, chain, n, masks[n], int(label), box, consistent), masks[n])
            for n, label in zip(whole, labels, strict=True)
        ]
    return [Image(_by_units(layers, chain.links[0], n, box, consistent), None) for n in everything]


def _mask(before: batch_separation.SeparatedLayer, layer: batch_separation.SeparatedLayer, n: int) -> Tensor:
    return (~batch_separation.dropped_units(before, layer)[:, n]).double()


def _by_gradient(
    layers: Sequence[batch_separation.SeparatedLayer],
    chain: LinearChain,
    n: int,
    masks: Sequence[Tensor | None],
    label: int,
    box: Box,
    consistent: float,
) -> Tensor | None:
    """The image whose own gradient is its part of the batch's: a batch of N is N batches of one."""
    count = layers[0].rows.inputs.shape[1]
    own = {
        f"{link.name}.weight": count * torch.outer(layer.rows.deltas[:, n], layer.rows.inputs[:, n])
        for link, layer in zip(chain.links, layers, strict=True)
    }
    try:
        image, residual = mlp.scaled(chain, layers[0].rows.inputs[:, n], own, list(masks), label, box)
    except NotApplicable:
        return None
    return image if residual <= consistent else None


def _by_units(
    layers: Sequence[batch_separation.SeparatedLayer], link: Link, n: int, box: Box, consistent: float
) -> Tensor:
    """The image from how strongly its units fire, or where that does not tell its scale, from the pixel box.

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
    return fill_box(direction, box) if found is None or found[1] > consistent**2 else found[0] * direction
