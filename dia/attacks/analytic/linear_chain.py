"""A fully connected network as the attacker sees it: Linear, activation, dropout, Linear, ..."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dia.attacks.analytic.errors import NotApplicable
from dia.gradients.batched import BatchedGradientEngine
from dia.models.dropout import Dropout, use_masks

ELEMENTWISE = (
    nn.GELU,
    nn.ReLU,
    nn.LeakyReLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.SiLU,
    nn.ELU,
    nn.SELU,
    nn.Softplus,
    nn.Identity,
)
"""Activations without parameters that act on every unit by itself."""


@dataclass(frozen=True)
class Link:
    """One Linear layer and what follows it up to the next.

    Attributes:
        name: The layer's name.
        weight: (out, in) float64.
        bias: (out,) float64, or None.
        activations: Applied one after the other.
        site: Number of the dropout site after them, or None.
        factor: ``1 / (1 - p)`` of that site, else 1.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    activations: tuple[nn.Module, ...]
    site: int | None
    factor: float

    def activate(self, preactivation: Tensor) -> Tensor:
        """Units before dropout."""
        for activation in self.activations:
            preactivation = activation(preactivation)
        return preactivation


@dataclass(frozen=True)
class LinearChain:
    """All links, the last one giving the logits."""

    links: tuple[Link, ...]

    @classmethod
    def of(cls, model: BatchedGradientEngine, shape: tuple[int, ...]) -> "LinearChain":
        """Read the network's modules in order, and check on a random image that this is how they are called.

        Raises:
            NotApplicable: The network is something else.
        """
        sites = {site.module: number for number, site in enumerate(model.sites)}
        links: list[Link] = []
        for name, module in model.model.named_modules():
            if next(module.children(), None) is not None or isinstance(module, nn.Flatten):
                continue
            if type(module) is nn.Linear:
                bias = None if module.bias is None else module.bias.double()
                links.append(Link(name, module.weight.double(), bias, (), None, 1.0))
            elif links and isinstance(module, ELEMENTWISE) and links[-1].site is None:
                last = links.pop()
                links.append(Link(last.name, last.weight, last.bias, (*last.activations, module), None, 1.0))
            elif links and isinstance(module, Dropout) and links[-1].site is None:
                last, site = links.pop(), sites.get(module)
                factor = 1 / (1 - module.p)
                links.append(Link(last.name, last.weight, last.bias, last.activations, site, factor))
            else:
                raise NotApplicable(
                    f"{name} ({type(module).__name__}) does not fit into a chain of linear layers"
                )
        chain = cls(tuple(links))
        if not links or not chain._agrees(model, shape):
            raise NotApplicable("the network is not a plain chain of its linear layers")
        return chain

    def _agrees(self, model: BatchedGradientEngine, shape: tuple[int, ...]) -> bool:
        rng = torch.Generator().manual_seed(0)
        x = torch.randn(2, *shape, generator=rng, dtype=torch.float64).to(model.device)
        with torch.no_grad(), use_masks(model.sites, None):
            expected = model.model(x.to(model.dtype)).double()
        if any(
            link.weight.shape[1] != width for link, width in zip(self.links, self._widths(x), strict=True)
        ):
            return False
        first = self.links[0]
        logits = F.linear(x.flatten(1), first.weight, first.bias)
        for before, link in zip(self.links, self.links[1:], strict=False):
            logits = F.linear(before.activate(logits), link.weight, link.bias)
        return logits.shape == expected.shape and bool(torch.allclose(logits, expected, rtol=1e-3, atol=1e-4))

    def _widths(self, x: Tensor) -> list[int]:
        return [x[0].numel(), *(len(link.weight) for link in self.links[:-1])]

    def backward(
        self, first: Tensor, masks: list[Tensor | None], label: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Inputs and deltas of the layers for K candidates of one image, by autograd on the pre-activations.

        Args:
            first: (K, width) pre-activations of the first layer, float64.
            masks: Of each link but the last, (width,) 0/1; None where nothing is dropped.
            label: The image's class.

        Returns:
            Inputs of layers 2, 3, ... and deltas of layers 1, 2, ..., each (K, width).
        """
        before = [first.detach().requires_grad_()]
        inputs: list[Tensor] = []
        with torch.enable_grad():
            for link, following, mask in zip(self.links, self.links[1:], masks, strict=False):
                a = link.activate(before[-1])
                inputs.append(a if mask is None else a * (mask * link.factor))
                before.append(F.linear(inputs[-1], following.weight, following.bias))
            labels = torch.full((len(first),), label, device=first.device)
            loss = F.cross_entropy(before[-1], labels, reduction="sum")
            deltas = torch.autograd.grad(loss, before)
        return [a.detach() for a in inputs], list(deltas)
