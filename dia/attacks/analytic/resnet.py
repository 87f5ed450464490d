"""One image from the gradient of a ResNet with group normalisation, dropout before its last layer and masks unknown.

1. The row space of the first block's gradient gives the block's input, the stem's output, up to a factor
   (:mod:`dia.attacks.analytic.row_space`).
2. The last layer's gradient gives its input: the pooled features behind dropout, and with them the mask.
3. Every block normalises what it adds, but not what it adds it to. So the factor decides the mixture, and the one that
   gives the pooled features is found by a search in one dimension.
4. Forward and backward of the blocks give the loss's derivatives at the stem's output.
5. The stem is inverted (:mod:`dia.attacks.analytic.stem_inversion`).
6. The network is blind to the scale of the image, but for the eps of its normalisations. Most photographs have a nearly
   black or a nearly white pixel: the image is the largest in the pixel box.

Steps 1 to 4 are exact to rounding, and checked; 5 is a search and 6 a guess, so that nothing is claimed.
"""

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dia.attacks.analytic import network_head, row_space
from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.network_head import Head
from dia.attacks.analytic.stem_inversion import Stem, StemInversion
from dia.attacks.problem import Problem
from dia.gradients.batched import BatchedGradientEngine

STAGES = ("layer1", "layer2", "layer3", "layer4")
PARTS = ("conv1", "bn1", "relu", "maxpool", *STAGES, "avgpool", "fc")
"""The parts of torchvision's ResNets, in the order of their calls."""

FIRST = "layer1.0.conv1"

ZERO = 1e-6
"""Entries below this share of the largest are zero."""

UNIQUE = 1e-2
"""Largest residual of the input, as a share of the next direction's."""

CONSISTENT = 1e-3
"""Largest relative error of the pooled features."""

LOG_FACTORS = (-3.0, 9.0)
"""The natural logarithm of the features' length is sought between these."""

TRIED = 60
CLIPPED = 0.002
"""Share of the pixels that may leave the box where the image is as large as possible."""

NEARLY, BACKGROUND = 0.8, 0.2
"""A black or white background has more than the second share of the pixels, all beyond the first of the way to the end
of the box. Chosen on victims 16 to 27 of CIFAR-10, which no table reports."""


class Stages(NamedTuple):
    """The features of one victim between the stem and the last layer.

    Attributes:
        features: (C, h, w) the stem's output.
        deltas: (C, h, w) the loss's derivatives by it.
        kept: (features,) bool, the mask before the last layer.
        error: How far, relatively, the pooled features are from what the last layer's gradient says.
    """

    features: Tensor
    deltas: Tensor
    kept: Tensor
    error: float


class ResNetSolver:
    """The solver for one problem.

    Raises:
        NotApplicable: The model is no such ResNet, drops elsewhere, gradients are missing, or it is a batch.
    """

    def __init__(self, problem: Problem, model: BatchedGradientEngine) -> None:
        self.problem, self.sites = problem, model.sites
        if problem.labels.shape[1] > 1:
            raise NotApplicable("batches of a ResNet are not taken apart")
        if len(model.sites) > 1 or any(not site.name.startswith("fc") for site in model.sites):
            raise NotApplicable("masks between the stages of a ResNet are not read")
        self.network = copy.deepcopy(model.model).cpu().double().eval().requires_grad_(False)
        if not isinstance(self._part("bn1"), nn.GroupNorm) or self._part("conv1").bias is not None:
            raise NotApplicable("the stem is no convolution without bias and group normalisation")
        self.head = self._part("fc") if isinstance(self._part("fc"), nn.Linear) else self._part("fc")[-1]
        self.head_name = next(name for name, module in self.network.named_modules() if module is self.head)
        wanted = ["conv1.weight", "bn1.weight", "bn1.bias", f"{FIRST}.weight", f"{self.head_name}.weight"]
        if missing := [name for name in wanted if name not in problem.received.pieces]:
            raise NotApplicable(f"the gradient of {missing[0]} was not sent (frozen)")
        self.conv: nn.Conv2d = self._part(FIRST)
        channels, height, width = self.stem(torch.zeros(1, *problem.shape, dtype=torch.float64)).shape[1:]
        self.shape = (channels, height, width)
        if not row_space.may_determine(self.conv, self.shape):
            positions, channels = height * width, self.conv.out_channels
            raise NotApplicable(f"{FIRST} has {positions} positions for {channels} channels")

    def __call__(self, victim: int) -> tuple[Tensor, list[Tensor], bool]:
        """The image (1, C, H, W) inside the pixel box, masks per site, and whether all but the stem is exact.

        Raises:
            NotApplicable: The gradient is zero, or does not determine the stem's output.
        """
        low, high = self.problem.low.double().cpu(), self.problem.high.double().cpu()
        stages = self.stages(victim)
        stem = Stem(
            conv=self._part("conv1"),
            norm=self._part("bn1"),
            pool=self._part("maxpool"),
            features=stages.features,
            deltas=stages.deltas,
            weight=self._gradient(victim, "conv1.weight"),
            gain=self._gradient(victim, "bn1.weight"),
            shift=self._gradient(victim, "bn1.bias"),
            shape=self.problem.shape,
        )
        image = largest_in_box(StemInversion(stem).solve().double(), low, high)
        masks = [stages.kept.view(1, *site.shape) for site in self.sites]
        return image[None], masks, stages.error <= CONSISTENT

    def stages(self, victim: int) -> Stages:
        """Features, derivatives and mask."""
        found = row_space.solutions(self.conv, self._gradient(victim, f"{FIRST}.weight"), self.shape)
        if float(found.residuals[0]) > UNIQUE * float(found.residuals[1]):
            raise NotApplicable(f"the gradient of {FIRST} does not determine its input")
        direction = found.directions[0] * torch.sign(found.directions[0].sum())
        direction = torch.where(direction > ZERO * direction.max(), direction, torch.zeros_like(direction))
        label = int(self.problem.labels[victim, 0])
        name = f"{self.head_name}.bias"
        bias = self._gradient(victim, name) if name in self.problem.received.pieces else None
        weight = self._gradient(victim, f"{self.head_name}.weight")
        head = network_head.of_one_image(self.head_name, self.head, weight, bias, label)
        kept = head.inputs[0].abs() > ZERO * head.inputs.abs().max()
        factor, error = self._factor(direction, kept, head)
        features = (factor * direction)[None].requires_grad_()
        with torch.enable_grad():
            logits = self.head(self._pooled(features) * kept * self._keep_scale())
            loss = F.cross_entropy(logits, torch.tensor([label]))
            (deltas,) = torch.autograd.grad(loss, features)
        return Stages(features.detach()[0], deltas[0] * head.factor, kept, error)

    @torch.no_grad()
    def _factor(self, direction: Tensor, kept: Tensor, head: Head) -> tuple[float, float]:
        """The length of the stem's output for which the pooled features are those of the last layer's gradient."""
        from scipy.optimize import minimize_scalar  # half a second, which other attacks are spared

        def mismatch(log: float) -> float:
            pooled = (
                self._pooled(direction[None] * torch.tensor(log).double().exp()) * kept * self._keep_scale()
            )
            return float((pooled - head.inputs).norm() / head.inputs.norm())

        tried = torch.linspace(*LOG_FACTORS, TRIED).tolist()
        best = min(tried, key=mismatch)
        step = tried[1] - tried[0]
        found = minimize_scalar(
            mismatch,
            bounds=(best - step, best + step),
            method="bounded",
            options={"xatol": 1e-12, "maxiter": 80},
        )
        return float(torch.tensor(found.x).double().exp()), float(found.fun)

    def _pooled(self, features: Tensor) -> Tensor:
        for name in (*STAGES, "avgpool"):
            features = self._part(name)(features)
        return features.flatten(1)

    def stem(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to what the first block sees."""
        for name in PARTS[:4]:
            x = self._part(name)(x)
        return x

    def _keep_scale(self) -> float:
        return self.sites[0].module.keep_scale if self.sites else 1.0

    def _part(self, name: str) -> Any:
        return self.network.get_submodule(name)

    def _gradient(self, victim: int, name: str) -> Tensor:
        return self.problem.gradient(victim, name).double().cpu()


def is_resnet(model: nn.Module) -> bool:
    """Tell whether a model is made of the parts of torchvision's ResNets."""
    return [name for name, _ in model.named_children()] == list(PARTS)


def largest_in_box(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``x`` (C, H, W) as large as the pixel box allows, and clipped to it.

    A few entries may be clipped. Where many entries are near the end of the box, they are taken to be a black or white
    background, whose middle ends there instead of its noise.
    """
    needed = torch.where(x > 0, x / high, x / low).flatten()
    scale = torch.quantile(needed, 1 - CLIPPED)
    background = needed > NEARLY * scale
    if float(background.double().mean()) > BACKGROUND:
        scale = needed[background].median()
    return (x / scale.clamp_min(torch.finfo(x.dtype).tiny)).clamp(low, high)
