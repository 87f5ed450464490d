"""The analytic attack on convolutional chains: head, recursion, certificate.

A claim is a certificate: the images with the masks read are replayed through the model and give the received
gradient of every parameter, and the equations determine every pixel that the network sees, or they and the 8 bits of
a pixel do (:mod:`dia.attacks.analytic.eight_bits`). An image that they do not determine is filled
(:mod:`dia.attacks.analytic.free_pixels`) and not claimed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dia.attacks.analytic import eight_bits, network_head
from dia.attacks.analytic.conv_chain import Stage, read_chain
from dia.attacks.analytic.conv_recursion import Recovered, recover, seen_inputs
from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.free_pixels import fill
from dia.attacks.analytic.layer_equations import NOISE
from dia.attacks.analytic.network_head import Head
from dia.attacks.analytic.replay import replay
from dia.attacks.mask_readout.batch_separation import match_labels, separate_layers
from dia.attacks.problem import Problem
from dia.gradients.batched import BatchedGradientEngine

MOST_IMAGES = 4

MOST_FREE = 400
"""Multiples of 1/255 are sought where no more dimensions are free."""

REPLAYED = 100 * NOISE
"""Largest rest of a replay, relative to an image's part of a parameter's gradient: the layers' standard errors, and so
what counts as determined, assume errors of ``NOISE``."""

CAUTIONS = (1.0, 0.2, 5.0)
"""Factors on the size below which a value is taken for zero, tried one after the other."""


@dataclass(frozen=True)
class Reconstruction:
    """The solution of one victim.

    Attributes:
        x: (N, C, H, W) normalised, inside the pixel box.
        masks: Per site (N, *site.shape) bool, silent units taken for dropped.
        determined: (N, C, H, W) bool, the entries that the gradient determines.
        seen: (H, W) bool, the pixels on which the gradient depends.
        rank, unknowns: Dimensions of the seen pixels that are determined, and all of them.
        complete: Whether the equations determine all of every layer's input, or they and the 8 bits of a pixel do;
            nothing is certain where they do not.
        replay_error: What the replay leaves of the gradient, relative to the images' parts of it.
    """

    x: Tensor
    masks: list[Tensor]
    determined: Tensor
    seen: Tensor
    rank: int
    unknowns: int
    complete: bool
    replay_error: float

    @property
    def replays(self) -> bool:
        """Tell whether the images and masks give the gradient that was received."""
        return self.replay_error <= REPLAYED


class ConvolutionSolver:
    """The solver for one problem.

    Raises:
        NotApplicable: The network is no chain of convolutions, gradients are missing, or the batch is too large.
    """

    def __init__(self, problem: Problem, model: BatchedGradientEngine) -> None:
        self.problem = problem
        self.stages = read_chain(model)
        for stage in self.stages:
            if f"{stage.name}.weight" not in problem.received.pieces:
                raise NotApplicable(f"the gradient of {stage.name}.weight was not sent (frozen)")
        if problem.labels.shape[1] > MOST_IMAGES:
            raise NotApplicable(f"batches of more than {MOST_IMAGES} images are not taken apart")
        self.seen = seen_inputs(self.stages)[0].view(problem.shape[1:])

    @torch.no_grad()
    def __call__(self, victim: int) -> Reconstruction:
        """Solve for one victim.

        A unit may be so close to zero that rounding hides on which side: where the replay fails, the line between zero
        and not is drawn elsewhere.

        Raises:
            NotApplicable: The gradient is zero, or the batch cannot be taken apart.
        """
        weights = [f"{stage.name}.weight" for stage in self.stages]
        gradients = {name: self.problem.gradient(victim, name).double().cpu() for name in weights}
        head = self._head(victim, gradients)
        found = []
        for caution in CAUTIONS:
            recovered = recover(self.stages, gradients, head, image_scale=1.0, caution=caution)
            found.append(self._reconstruction(victim, recovered))
            if found[-1].replays or not found[-1].complete:
                break
        return min(found, key=lambda one: one.replay_error)

    def _reconstruction(self, victim: int, found: Recovered) -> Reconstruction:
        low, high = self.problem.low.double().cpu(), self.problem.high.double().cpu()
        image, behind = found.image, all(layer.rank == layer.unknowns for layer in found.layers[1:])
        filled = fill(image, self.stages[0], self.seen, found.units[0].inactive, low, high)
        x = filled.nan_to_num().clamp(low, high)
        sites = enumerate(self.problem.model.sites)
        masks = [_of_site(found.kept(number), site.shape) for number, site in sites]
        error = self._replay_error(victim, x, masks)
        complete = behind and image.rank == image.unknowns
        if behind and image.openness is not None and image.unknowns - image.rank <= MOST_FREE:
            snapped = eight_bits.snap(filled, image.openness.directions(), self.seen, low, high)
            if snapped is not None:
                of_snapped = self._replay_error(victim, snapped, masks)
                if of_snapped <= REPLAYED:
                    x, error, complete = snapped, of_snapped, True
        return Reconstruction(
            x=x,
            masks=masks,
            determined=image.determined & behind,
            seen=self.seen,
            rank=image.rank,
            unknowns=image.unknowns,
            complete=complete,
            replay_error=error,
        )

    def _replay_error(self, victim: int, x: Tensor, masks: list[Tensor]) -> float:
        found = replay(self.problem, victim, x, masks, self.problem.labels[victim].cpu())
        return float(torch.maximum(found.unexplained, found.hidden).max())

    def _head(self, victim: int, gradients: dict[str, Tensor]) -> Head:
        last, labels = self.stages[-1], self.problem.labels[victim].cpu()
        name, weight = f"{last.name}.bias", gradients[f"{last.name}.weight"]
        pieces = self.problem.received.pieces
        bias = self.problem.gradient(victim, name).double().cpu() if name in pieces else None
        if len(labels) == 1:
            return network_head.of_one_image(last.name, last.linear, weight, bias, int(labels[0]))
        return _head_of_batch(self.stages, gradients, bias, labels)


def _head_of_batch(
    stages: Sequence[Stage], gradients: dict[str, Tensor], bias: Tensor | None, labels: Tensor
) -> Head:
    """By the zeros of dropout and ReLU in the layers that see one position an image.

    Raises:
        NotApplicable: They do not take the batch apart.
    """
    first = len(stages) - 1
    while first > 0 and stages[first - 1].taps().shape[1] == 1 and not stages[first - 1].pooling:
        first -= 1
    weights = [gradients[f"{stage.name}.weight"].flatten(1) for stage in stages[first:]]
    behind = stages[first:-1] or stages[-2:-1]  # of a single layer, the rate before it
    rates = [1 - 1 / max((step.factor for step in stage.unitwise), default=1.0) for stage in behind]
    layers = separate_layers(weights, len(labels), rates or [0.0])
    if len(layers) < len(weights) or layers[-1].rows.inputs.shape[1] < len(labels):
        raise NotApplicable("the batch cannot be taken apart at the last layers")
    order = match_labels(layers[-1], labels)
    if order is None:
        raise NotApplicable("the images found do not have the labels")
    rows = layers[-1].rows
    return network_head.of_factors(
        stages[-1].linear, rows.deltas[:, order], rows.inputs[:, order], bias, labels
    )


def _of_site(kept: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(N, U) units to the mask (N, *shape) of their site; one that drops channels kept those with any unit."""
    entries = int(torch.Size(shape).numel())
    return kept.view(len(kept), entries, -1).any(2).view(-1, *shape)
