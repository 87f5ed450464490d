"""Random input on which assumptions about a model are checked: the engine does not trust any."""

from typing import NamedTuple

import torch
from torch import Tensor

from dia.gradients.engine import GradientEngine
from dia.models.parameters import reference_parameter

PROBE_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-7}
"""Largest relative error at which two ways of computing one thing agree (float32 rounding stays below 1e-4)."""


class Probe(NamedTuple):
    """A batch of V victims of N images, on the model's device and in its precision.

    Attributes:
        x: (V, N, C, H, W), standard normal.
        masks: Per site (V, N, *site.shape), 0 or 1, each entry kept with probability 1 - p / 2.
        labels: (V, N).
    """

    x: Tensor
    masks: list[Tensor]
    labels: Tensor


def probe_batch(model: GradientEngine, victims: int, images: int, *, seed: int = 0) -> Probe:
    """Draw a probe; the same arguments give the same one.

    Args:
        model: Gives shapes, number of classes, precision and device.
        victims: Number of victims V.
        images: Images N of each. Masks of local steps have the images of their step, whatever N is.
        seed: Another number gives another probe.
    """
    reference = reference_parameter(model.model)
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(victims, images, *model.shape, generator=rng, dtype=torch.float64).to(reference)
    labels = torch.randint(model.num_classes, (victims, images), generator=rng).to(reference.device)
    return Probe(x, _masks(model, x, rng), labels)


def probe_on(model: GradientEngine, x: Tensor, labels: Tensor) -> Probe:
    """A probe on given images (V, N, C, H, W), normalised, and labels (V, N), with random masks."""
    x = x.to(reference_parameter(model.model))
    return Probe(x, _masks(model, x, torch.Generator().manual_seed(0)), labels.to(x.device))


def _masks(model: GradientEngine, x: Tensor, rng: torch.Generator) -> list[Tensor]:
    victims, images = x.shape[:2]
    return [
        (torch.rand(victims, *site.mask_shape(images), generator=rng) < 0.5 + 0.5 * (1 - site.rate)).to(x)
        for site in model.sites
    ]
