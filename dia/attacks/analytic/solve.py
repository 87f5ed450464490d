"""Which closed form fits a problem, and what it finds for one victim."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dia.attacks.analytic import batch, mlp, vit
from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.input_layers import PixelLayer, pixel_layers
from dia.attacks.analytic.linear_chain import LinearChain
from dia.attacks.analytic.scale_search import Box
from dia.attacks.mask_readout import batch_separation
from dia.attacks.problem import Problem
from dia.gradients.batched import BatchedGradientEngine

CONSISTENT = 1e-3
"""Largest relative residual of an exact solution; a float32 gradient leaves less than 1e-5."""

SOLVED, INEXACT, PARTIAL, NOTHING = "solved", "inexact", "partial", "not_separable"


class Solution(NamedTuple):
    """What was found for one victim of N images, on the CPU.

    Attributes:
        x: (N, C, H, W) normalised; where nothing was found, zeros (the data set's mean colour).
        claimed: (N,) bool, the images that the attack knows to have recovered (up to scale and sign where only the
            pixel box tells them).
        masks: Per dropout site (N, *site.shape) bool as read off, or None where they were not.
        reason: ``solved`` (every image recovered), ``partial``, ``not_separable`` (no image of a batch could be told
            from the others), or ``inexact`` (the equations contradict each other: the gradient was altered).
    """

    x: Tensor
    claimed: Tensor
    masks: list[Tensor] | None
    reason: str


Solver = Callable[[int], Solution]


def solver(problem: Problem) -> Solver:
    """The closed form that fits the problem's model, batch size and received gradients.

    Raises:
        NotApplicable: There is none; the message says why.
    """
    model, shape = problem.model, problem.shape
    if not isinstance(model, BatchedGradientEngine):
        raise NotApplicable("what was sent is not the gradient of one step")
    layers = pixel_layers(model, shape)
    if not layers:
        raise NotApplicable("no linear layer sees the image's pixels")
    layer = layers[0]
    if len(layer.index) > 1:
        positions = vit.find(problem, layer)
        return lambda victim: _by_positions(problem, positions, victim)
    if f"{layer.name}.weight" not in problem.received.pieces:
        raise NotApplicable(f"the gradient of {layer.name}.weight was not sent (frozen)")
    try:
        chain, why = LinearChain.of(model, shape), ""
    except NotApplicable as error:
        chain, why = None, str(error)
    if chain is not None and any(
        f"{link.name}.weight" not in problem.received.pieces for link in chain.links
    ):
        chain, why = None, "not every layer's gradient was sent (frozen layers)"
    if problem.labels.shape[1] > 1:
        return lambda victim: _of_batch(problem, layer, chain, victim)
    if chain is None and f"{layer.name}.bias" not in problem.received.pieces:
        raise NotApplicable(f"the first layer has no bias, and {why}")
    return lambda victim: _single(problem, layer, chain, victim)


def _by_positions(problem: Problem, positions: vit.Positions, victim: int) -> Solution:
    embedding, position = (
        problem.gradient(victim, name) for name in (f"{positions.layer.name}.weight", positions.parameter)
    )
    patches, residual = vit.reconstruct(positions, embedding, position)
    return _one(problem, positions.layer, patches, None, residual)


def _single(problem: Problem, layer: PixelLayer, chain: LinearChain | None, victim: int) -> Solution:
    gradients = _gradients(problem, layer, chain, victim)
    masks = None if chain is None else mlp.read_masks(chain, gradients)
    found = mlp.direction(gradients[f"{layer.name}.weight"])
    bias = gradients.get(f"{layer.name}.bias")
    if bias is not None:
        size = (found.left @ bias) / bias.square().sum()
        image, residual = found.direction * size, found.residual
        residual += float((found.left - size * bias).norm() / found.left.norm())
    else:
        assert chain is not None and masks is not None
        label = int(problem.labels[victim, 0])
        image, mismatch = mlp.scaled(chain, found.direction, gradients, masks, label, _box(problem, layer))
        residual = found.residual + mismatch
    kept = None if chain is None or masks is None else _by_site(problem, chain, [masks])
    return _one(problem, layer, image[None], kept, residual)


def _by_site(problem: Problem, chain: LinearChain, masks: list[list[Tensor | None]]) -> list[Tensor]:
    """Per dropout site (N, *site.shape) bool, from every image's masks behind the links."""
    links = {link.site: number for number, link in enumerate(chain.links[:-1])}
    return [
        torch.stack([image[links[number]].bool().cpu().view(site.shape) for image in masks])  # type: ignore[union-attr]
        for number, site in enumerate(problem.model.sites)
    ]


def _of_batch(problem: Problem, layer: PixelLayer, chain: LinearChain | None, victim: int) -> Solution:
    gradients = _gradients(problem, layer, chain, victim)
    labels, shape = problem.labels[victim].to(problem.device), problem.shape
    links = chain.links[:-1] if chain is not None else ()
    rates = [1 - 1 / link.factor for link in links] or [max(problem.rates, default=0.0)]
    weights = [gradients[f"{link.name}.weight"] for link in chain.links] if chain is not None else []
    layers = batch_separation.separate_layers(
        weights or [gradients[f"{layer.name}.weight"]], len(labels), rates
    )
    images = batch.images(
        layers, chain, gradients.get(f"{layer.name}.bias"), labels, _box(problem, layer), CONSISTENT
    )
    x = torch.zeros(len(labels), *shape, dtype=problem.dtype)
    claimed = torch.zeros(len(x), dtype=torch.bool)
    for number, image in enumerate(images):
        if image.inputs is not None:
            whole = layer.image(image.inputs[None], shape)
            x[number] = whole.clamp(problem.low.double(), problem.high.double())
            claimed[number] = True
    known = len(images) == len(x) and all(image.masks is not None for image in images)
    kept = _by_site(problem, chain, [image.masks or [] for image in images]) if known and chain else None
    share = int(claimed.sum())
    return Solution(x, claimed, kept, SOLVED if share == len(x) else PARTIAL if share else NOTHING)


def _one(
    problem: Problem, layer: PixelLayer, inputs: Tensor, kept: list[Tensor] | None, residual: float
) -> Solution:
    """A single image, clipped to the pixel box."""
    image = layer.image(inputs, problem.shape)
    image = image.nan_to_num().clamp(problem.low.double(), problem.high.double())
    exact, x = residual <= CONSISTENT, image[None].to(problem.dtype).cpu()
    return Solution(x, torch.tensor([exact]), kept, SOLVED if exact else INEXACT)


def _gradients(
    problem: Problem, layer: PixelLayer, chain: LinearChain | None, victim: int
) -> dict[str, Tensor]:
    """What was received of the linear layers, in float64 (masks are read from it: it keeps exact zeros)."""
    names = [link.name for link in chain.links] if chain is not None else [layer.name]
    wanted = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    sent = [name for name in wanted if name in problem.received.pieces]
    return {name: problem.gradient(victim, name).double() for name in sent}


def _box(problem: Problem, layer: PixelLayer) -> Box:
    """The pixel box of every input of a layer that sees the whole image."""
    bounds = torch.stack([problem.low, problem.high]).double().expand(2, *problem.shape)
    low, high = layer.inputs(bounds)[:, 0]
    return low, high
