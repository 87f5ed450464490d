"""Choose the closed form that fits a problem, and apply it to one victim.

All of it is computed on the CPU in float64: LAPACK factors a hundred thousand small matrices in a second where a GPU's
solver takes them one by one, and its least squares handles matrices that lack full rank.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dia.attacks.analytic import batch, mlp, vit
from dia.attacks.analytic.chain_certificate import certify, masks_by_site, upright
from dia.attacks.analytic.convolutions import ConvolutionSolver
from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.input_layers import PixelLayer, pixel_layers
from dia.attacks.analytic.linear_chain import LinearChain
from dia.attacks.analytic.replay import ACCURATE, is_overdetermined
from dia.attacks.analytic.resnet import ResNetSolver, is_resnet
from dia.attacks.analytic.scale_search import Box
from dia.attacks.mask_readout.batch_separation import separate_layers
from dia.attacks.problem import Problem
from dia.gradients.batched import BatchedGradientEngine

CONSISTENT = 1e-3
"""Largest relative residual of an exact solution; a float32 gradient leaves less than 1e-5."""

SOLVED, INEXACT, PARTIAL, NOT_SEPARABLE = "solved", "inexact", "partial", "not_separable"
UNDERDETERMINED, APPROXIMATE, UNCONFIRMED = "underdetermined", "approximate", "unconfirmed"
MIRRORED = "mirrored"


class Solution(NamedTuple):
    """The solution of one victim of N images, on the CPU.

    Attributes:
        x: (N, C, H, W) normalised; where nothing was found, zeros (the data set's mean colour).
        claimed: (N,) bool, the images that the attack knows to have recovered.
        masks: Per dropout site (N, *site.shape) bool as read off, or None where they were not.
        reason: ``solved`` (every image recovered), ``partial``, ``not_separable`` (no image of a batch could be told
            from the others), ``underdetermined`` (other images have the gradient of these convolutions as well; the
            rest is a plausible guess), ``approximate`` (a ResNet: its features are exact, the image behind them was
            sought), ``unconfirmed`` (images were found, but no replay and no surplus equations confirm them),
            ``mirrored`` (their replay gives the gradient, and so does that of the negatives of some), or
            ``inexact`` (the equations contradict each other: the gradient was altered).
    """

    x: Tensor
    claimed: Tensor
    masks: list[Tensor] | None
    reason: str


Solver = Callable[[int], Solution]


def build_solver(problem: Problem) -> Solver:
    """The closed form that fits the problem's model, batch size and received gradients.

    Raises:
        NotApplicable: There is none; the message says why.
    """
    model, sent = problem.model, problem.received.pieces
    if not isinstance(model, BatchedGradientEngine):
        raise NotApplicable("what was sent is not the gradient of one step")
    layers = pixel_layers(model)
    if not layers and is_resnet(model.model):
        resnet = ResNetSolver(problem, model)
        return lambda victim: _solve_resnet(problem, resnet, victim)
    if not layers:
        convolutions = ConvolutionSolver(problem, model)
        return lambda victim: _solve_by_convolutions(problem, convolutions, victim)
    layer = layers[0]
    if len(layer.index) > 1:
        positions = vit.find_positions(problem, model, layer)
        return lambda victim: _solve_by_positions(problem, positions, victim)
    if f"{layer.name}.weight" not in sent:
        raise NotApplicable(f"the gradient of {layer.name}.weight was not sent (frozen)")
    is_batch = problem.labels.shape[1] > 1
    try:
        chain = _linear_chain(problem, model)
    except NotApplicable as error:
        if is_batch:
            return lambda victim: _solve_batch_by_first_layer(problem, layer, victim)
        if f"{layer.name}.bias" not in sent:
            raise NotApplicable(f"the first layer has no bias, and {error}") from error
        return lambda victim: _solve_image_by_first_layer(problem, layer, victim)
    if is_batch:
        return lambda victim: _solve_batch_by_chain(problem, layer, chain, victim)
    return lambda victim: _solve_image_by_chain(problem, layer, chain, victim)


def _linear_chain(problem: Problem, model: BatchedGradientEngine) -> LinearChain:
    """The model as a chain of linear layers whose gradients were all sent.

    Raises:
        NotApplicable: It is none, or a layer is frozen.
    """
    chain = LinearChain.of(model)
    if any(f"{link.name}.weight" not in problem.received.pieces for link in chain.links):
        raise NotApplicable("not every layer's gradient was sent (frozen layers)")
    return chain


def _solve_resnet(problem: Problem, solve: ResNetSolver, victim: int) -> Solution:
    """One image, nearly, from the gradient of a ResNet: its features exactly, its scale by a guess."""
    x, masks, consistent = solve(victim)
    return Solution(x.to(problem.dtype), torch.tensor([False]), masks, APPROXIMATE if consistent else INEXACT)


def _solve_by_convolutions(problem: Problem, solve: ConvolutionSolver, victim: int) -> Solution:
    """The images from the gradient of a chain of convolutions."""
    found = solve(victim)
    consistent = SOLVED if found.replays else INEXACT
    reason = consistent if found.complete else UNDERDETERMINED
    claimed = torch.full((len(found.x),), reason == SOLVED)
    return Solution(found.x.to(problem.dtype), claimed, found.masks, reason)


def _solve_by_positions(problem: Problem, positions: vit.Positions, victim: int) -> Solution:
    """One image from the gradient of a vision transformer's position embeddings."""
    names = positions.parameter, f"{positions.layer.name}.weight"
    position, embedding = (problem.gradient(victim, name).double().cpu() for name in names)
    patches, error = vit.reconstruct(positions, embedding, position)
    return _single_image(problem, positions.layer, patches, error)


def _solve_image_by_first_layer(problem: Problem, layer: PixelLayer, victim: int) -> Solution:
    """One image from the weight and bias of the only layer whose inputs are known.

    Its certificate is that the weight gradient has rank 1, and that its deltas are the bias gradient.
    """
    gradients = _gradients(problem, [layer.name], victim)
    found = mlp.factor_rank_one(gradients[f"{layer.name}.weight"])
    image, residual = _scale_by_bias(found, gradients[f"{layer.name}.bias"])
    used = int((gradients[f"{layer.name}.bias"] != 0).sum())
    surplus = (used - 1) * len(image)
    error = found.residual + residual if is_overdetermined(surplus, 0, tries=1) else math.inf
    return _single_image(problem, layer, image[None], error)


def _solve_image_by_chain(problem: Problem, layer: PixelLayer, chain: LinearChain, victim: int) -> Solution:
    """One image and its masks from the gradient of a fully connected network."""
    gradients = _gradients(problem, [link.name for link in chain.links], victim)
    masks = mlp.read_masks(chain, gradients)
    found = mlp.factor_rank_one(gradients[f"{layer.name}.weight"])
    bias = gradients.get(f"{layer.name}.bias")
    if bias is not None:
        image = _scale_by_bias(found, bias)[0]
    else:
        label = int(problem.labels[victim, 0])
        image = mlp.find_scale(chain, found.inputs, gradients, masks, label, _box(problem, layer))[0]
    x = upright(problem, _clipped(problem, layer, image[None].nan_to_num())[None].to(problem.dtype))
    by_site = masks_by_site(problem, chain, [masks])
    certified = certify(problem, layer, chain, gradients, victim, x, by_site)
    if certified is None:
        return Solution(x, torch.tensor([False]), by_site, INEXACT)
    reason = SOLVED if bool(certified.unique) else MIRRORED
    return Solution(x, certified.unique, certified.masks, reason)


def _scale_by_bias(found: mlp.RankOne, bias: Tensor) -> tuple[Tensor, float]:
    """The image (in,) by the bias gradient, which is the delta, and how far the two deltas are apart."""
    size = (found.deltas @ bias) / bias.square().sum()
    return found.inputs * size, float((found.deltas - size * bias).norm() / found.deltas.norm())


def _solve_batch_by_first_layer(problem: Problem, layer: PixelLayer, victim: int) -> Solution:
    """The images of a batch from the weight and bias of the only layer whose inputs are known.

    Nothing is claimed: without masks there is no replay, and a bias gradient lies in the span of any factors.
    """
    gradients = _gradients(problem, [layer.name], victim)
    bias, images = gradients.get(f"{layer.name}.bias"), problem.labels.shape[1]
    rate = max(problem.rates, default=0.0)
    layers = separate_layers([gradients[f"{layer.name}.weight"]], images, [rate])
    found = batch.images_by_bias(layers[0].rows, bias, CONSISTENT) if layers and bias is not None else []
    x, there = _batch_of_images(problem, layer, found)
    return Solution(x, torch.zeros_like(there), None, UNCONFIRMED if bool(there.any()) else NOT_SEPARABLE)


def _solve_batch_by_chain(problem: Problem, layer: PixelLayer, chain: LinearChain, victim: int) -> Solution:
    """The images of a batch, and their masks, from the gradient of a fully connected network."""
    gradients = _gradients(problem, [link.name for link in chain.links], victim)
    labels = problem.labels[victim].cpu()
    rates = [link.rate for link in chain.links[:-1]] or [max(problem.rates, default=0.0)]
    layers = separate_layers([gradients[f"{link.name}.weight"] for link in chain.links], len(labels), rates)
    images = batch.images_of_chain(layers, chain, gradients, labels, _box(problem, layer), CONSISTENT)
    masks = [image.masks for image in images if image.masks is not None]
    by_site = masks_by_site(problem, chain, masks) if len(masks) == len(labels) else None
    x, there = _batch_of_images(problem, layer, images)
    if not bool(there.any()):
        return Solution(x, there, by_site, NOT_SEPARABLE)
    x[there] = upright(problem, x[there])
    read = by_site if by_site is not None and bool(there.all()) else None
    certified = certify(problem, layer, chain, gradients, victim, x[there], read)
    if certified is None:
        return Solution(x, torch.zeros_like(there), by_site, UNCONFIRMED)
    claimed = there.clone()
    claimed[there] = certified.unique
    if not bool(there.all() and certified.replays.all()):
        return Solution(x, claimed, None, PARTIAL)
    order = _in_order_of(labels, certified.labels)
    reason = SOLVED if bool(claimed.all()) else MIRRORED
    return Solution(x[order], claimed[order], [mask[order] for mask in certified.masks], reason)


def _in_order_of(labels: Tensor, found: Tensor) -> Tensor:
    """(N,) which image is at each position, so that their labels ``found`` are in the order of ``labels``."""
    if not torch.equal(labels.sort().values, found.sort().values):
        return torch.arange(len(labels))
    order = torch.empty_like(labels)
    order[labels.argsort(stable=True)] = found.argsort(stable=True)
    return order


def _batch_of_images(
    problem: Problem, layer: PixelLayer, images: Sequence[batch.Image]
) -> tuple[Tensor, Tensor]:
    """The images (N, C, H, W) of a batch, clipped to the pixel box, and (N,) bool which of them were found."""
    x = torch.zeros(problem.labels.shape[1], *problem.shape, dtype=problem.dtype)
    there = torch.zeros(len(x), dtype=torch.bool)
    for number, image in enumerate(images):
        if image.inputs is not None and bool(image.inputs.isfinite().all()):
            x[number] = _clipped(problem, layer, image.inputs[None])
            there[number] = True
    return x, there


def _single_image(problem: Problem, layer: PixelLayer, inputs: Tensor, error: float) -> Solution:
    """A single image, clipped to the pixel box, claimed if its relative error is small; infinite: nothing tells it."""
    x = _clipped(problem, layer, inputs.nan_to_num())[None].to(problem.dtype)
    reason = SOLVED if error <= ACCURATE else UNCONFIRMED if error == math.inf else INEXACT
    return Solution(x, torch.tensor([reason == SOLVED]), None, reason)


def _clipped(problem: Problem, layer: PixelLayer, inputs: Tensor) -> Tensor:
    """The image (C, H, W) with these inputs (T, in) of the layer, clipped to the pixel box."""
    low, high = problem.low.double().cpu(), problem.high.double().cpu()
    return layer.image(inputs, problem.shape).clamp(low, high)


def _gradients(problem: Problem, layer_names: Sequence[str], victim: int) -> dict[str, Tensor]:
    """The received gradients of linear layers, in float64 (which keeps exact zeros, where masks are read)."""
    wanted = [f"{name}.{kind}" for name in layer_names for kind in ("weight", "bias")]
    sent = [name for name in wanted if name in problem.received.pieces]
    return {name: problem.gradient(victim, name).double().cpu() for name in sent}


def _box(problem: Problem, layer: PixelLayer) -> Box:
    """The pixel box of every input of a layer that sees the whole image."""
    bounds = torch.stack([problem.low, problem.high]).double().cpu().expand(2, *problem.shape)
    low, high = layer.inputs(bounds)[:, 0]
    return low, high
