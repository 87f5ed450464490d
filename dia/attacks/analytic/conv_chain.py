"""A convolutional network as the attacker sees it: a chain of layers, each with linear pooling and units behind
it."""

import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dia.attacks.analytic.errors import NotApplicable
from dia.gradients.batched import BatchedGradientEngine
from dia.models.dropout import Dropout, Site, use_masks

Shape = tuple[int, int, int]

LINEAR = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
"""Poolings that are linear."""

RESHAPING = (nn.Flatten, nn.Unflatten, nn.Identity)

ACTIVATIONS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.Softplus,
    nn.LogSigmoid,
)
"""Activations that :mod:`dia.attacks.analytic.unit_inverse` can invert."""


@dataclass(frozen=True)
class Unitwise:
    """An activation, or a dropout site, on every unit of a stage.

    Attributes:
        activation: None for dropout.
        site: Number of the dropout site; None for an activation.
        factor: ``1 / (1 - p)``; 1 for an activation.
    """

    activation: nn.Module | None
    site: int | None = None
    factor: float = 1.0


@dataclass(frozen=True)
class Stage:
    """A convolution or Linear, linear pooling of its outputs, and what is done to each unit up to the next stage.

    A Linear is a convolution with one position: its input has the shape (features, 1, 1).

    Attributes:
        name: The layer's name.
        layer: In float64.
        pooling: Between the layer and its units.
        unitwise: Activations and dropout, in the order of their calls.
        input_shape: (C, H, W) of one image at the layer's input.
    """

    name: str
    layer: nn.Conv2d | nn.Linear
    pooling: tuple[nn.Module, ...]
    unitwise: tuple[Unitwise, ...]
    input_shape: Shape

    @property
    def groups(self) -> int:
        return self.layer.groups if isinstance(self.layer, nn.Conv2d) else 1

    @property
    def linear(self) -> nn.Linear:
        """The layer of the last stage."""
        assert isinstance(self.layer, nn.Linear)
        return self.layer

    def units(self, a: Tensor) -> Tensor:
        """(B, C, H, W) inputs to the units (B, U) before :attr:`unitwise`, with the bias."""
        z = self.layer(a.flatten(1) if isinstance(self.layer, nn.Linear) else a)
        for pool in self.pooling:
            z = pool(z)
        return z.flatten(1)

    def offset(self) -> Tensor:
        """(U,) the units of an input of zeros."""
        return self.units(next(self.layer.parameters()).new_zeros(1, *self.input_shape))[0]

    def pull_back(self, deltas: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives by the units (B, U) to those by the layer's outputs (B, out, T) and inputs (B, C, H, W)."""
        with torch.enable_grad():
            a = deltas.new_zeros(len(deltas), *self.input_shape, requires_grad=True)
            z = self.layer(a.flatten(1) if isinstance(self.layer, nn.Linear) else a)
            u = z
            for pool in self.pooling:
                u = pool(u)
            at_outputs, at_inputs = torch.autograd.grad((u.flatten(1) * deltas).sum(), (z, a))
        return at_outputs.flatten(2) if at_outputs.dim() > 2 else at_outputs[..., None], at_inputs

    def reach(self, units: Tensor) -> Tensor:
        """(H W,) bool, the input pixels on which some of the units (U,) bool depend."""
        outputs, _ = self.pull_back(units.to(self.offset())[None])  # linear pooling has positive weights
        used = (outputs[0] != 0).any(0)
        seen = self.taps()[:, used].flatten()
        pixels = torch.zeros(self.input_shape[1] * self.input_shape[2], dtype=torch.bool, device=seen.device)
        pixels[seen[seen >= 0]] = True
        return pixels

    def taps(self) -> Tensor:
        """(K, T) which input pixel (y W + x) tap k of the kernel sees at position t; -1 for padding."""
        _, height, width = self.input_shape
        if isinstance(self.layer, nn.Linear):
            return torch.zeros(1, 1, dtype=torch.int64, device=self.layer.weight.device)
        conv = self.layer
        numbers = torch.arange(1, height * width + 1, dtype=torch.float64, device=conv.weight.device)
        image = numbers.view(1, 1, height, width)
        mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        image = F.pad(image, conv._reversed_padding_repeated_twice, mode=mode)
        seen = F.unfold(image, conv.kernel_size, dilation=conv.dilation, stride=conv.stride)
        return seen[0].round().long() - 1


@torch.no_grad()
def read_chain(model: BatchedGradientEngine) -> tuple[Stage, ...]:
    """The network's stages in the order of their calls, the last one giving the logits.

    The stages are on the CPU, where closed forms are computed. What is between two modules must be a reshaping:
    each module's input is compared with the output of the one before.

    Raises:
        NotApplicable: The network is no chain, or has a layer that cannot be inverted; the message names it.
    """
    calls = _calls(model)
    stages: list[dict[str, Any]] = []
    sites = _site_numbers(model.sites)
    for name, module, inputs, outputs in calls:
        drops = isinstance(module, Dropout) and module.p > 0
        if isinstance(module, RESHAPING) or (not drops and torch.equal(inputs.flatten(), outputs.flatten())):
            continue  # does nothing here
        if type(module) in (nn.Conv2d, nn.Linear):
            if type(module) is nn.Linear and inputs.dim() != 2:
                raise NotApplicable(f"{name} sees more than one position an image")
            where = tuple(inputs.shape[1:]) if inputs.dim() == 4 else (inputs.shape[1], 1, 1)
            layer = copy.deepcopy(module).double().cpu().requires_grad_(False)
            stages.append(dict(name=name, layer=layer, pooling=[], unitwise=[], input_shape=where))
        elif not stages:
            raise NotApplicable(f"{name} ({type(module).__name__}) comes before the first convolution")
        elif isinstance(module, LINEAR):
            if stages[-1]["unitwise"]:
                raise NotApplicable(f"{name} averages units behind their activation")
            stages[-1]["pooling"].append(module)
        elif isinstance(module, ACTIVATIONS):
            stages[-1]["unitwise"].append(Unitwise(module))
        elif isinstance(module, Dropout):
            stages[-1]["unitwise"].append(Unitwise(None, sites[module], module.keep_scale))
        else:
            raise NotApplicable(f"{name} ({type(module).__name__}) does not fit into a chain of convolutions")
    if len(stages) < 2 or stages[-1]["unitwise"] or type(stages[-1]["layer"]) is not nn.Linear:
        raise NotApplicable("the network does not end in a linear layer")
    return tuple(
        Stage(s["name"], s["layer"], tuple(s["pooling"]), tuple(s["unitwise"]), s["input_shape"])
        for s in stages
    )


def _site_numbers(sites: list[Site]) -> dict[nn.Module, int]:
    return {site.module: number for number, site in enumerate(sites)}


def _calls(model: BatchedGradientEngine) -> list[tuple[str, nn.Module, Tensor, Tensor]]:
    """Name, module, input and output of every call of a module without children, on a random image."""
    calls: list[tuple[str, nn.Module, Tensor, Tensor]] = []
    leaves = {m: name for name, m in model.model.named_modules() if next(m.children(), None) is None}

    def remember(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        value = args[0] if args else kwargs.get("input")
        if not isinstance(value, Tensor) or not isinstance(output, Tensor):
            raise NotApplicable(f"{leaves[module]} is not called with one tensor")
        calls.append((leaves[module], module, value, output))

    hooks = [module.register_forward_hook(remember, with_kwargs=True) for module in leaves]
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, *model.shape, generator=rng, dtype=torch.float64).to(model.device, model.dtype)
    try:
        with use_masks(model.sites, None):
            logits = model.model(x)
    finally:
        for hook in hooks:
            hook.remove()
    flow = [x, *(value for call in calls for value in call[2:]), logits]
    for before, after in list(pairwise(flow))[::2]:
        if not torch.equal(before.flatten(), after.flatten()):
            raise NotApplicable(
                "the network is not a chain: between two of its modules something else is computed"
            )
    if len({module for _, module, *_ in calls}) < len(calls):
        raise NotApplicable("the network calls a module twice")
    return calls
