"""A fully connected network as the attacker sees it: Linear, activation, dropout, Linear, ..."""

from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dia.attacks.analytic.errors import NotApplicable
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.probe import PROBE_TOLERANCE, probe_batch
from dia.models.dropout import Dropout, use_masks
from dia.utils.devices import full_precision_products

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
        keep_scale: ``1 / (1 - p)`` of that site, else 1.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    activations: tuple[nn.Module, ...]
    site: int | None
    keep_scale: float

    @property
    def rate(self) -> float:
        """The dropout rate p behind the layer, 0 without dropout."""
        return 1 - 1 / self.keep_scale

    def activate(self, preactivation: Tensor) -> Tensor:
        """Units before dropout."""
        for activation in self.activations:
            preactivation = activation(preactivation)
        return preactivation


@dataclass
class _Group:
    """A Linear layer with the modules that follow it, while they are collected."""

    name: str
    linear: nn.Linear
    activations: list[nn.Module] = field(default_factory=list)
    dropout: Dropout | None = None


def _collect_groups(model: nn.Module) -> list[_Group]:
    """The model's leaf modules in order, grouped by Linear layer.

    Raises:
        NotApplicable: A module fits into no group.
    """
    groups: list[_Group] = []
    for name, module in model.named_modules():
        has_children = next(module.children(), None) is not None
        if has_children or isinstance(module, nn.Flatten) or (isinstance(module, Dropout) and module.p == 0):
            continue
        group = groups[-1] if groups and groups[-1].dropout is None else None
        if type(module) is nn.Linear:
            groups.append(_Group(name, module))
        elif group and isinstance(module, ELEMENTWISE):
            group.activations.append(module)
        elif group and isinstance(module, Dropout):
            group.dropout = module
        else:
            raise NotApplicable(
                f"{name} ({type(module).__name__}) does not fit into a chain of linear layers"
            )
    return groups


@dataclass(frozen=True)
class LinearChain:
    """All links, the last one giving the logits."""

    links: tuple[Link, ...]

    @classmethod
    def of(cls, model: BatchedGradientEngine) -> "LinearChain":
        """Read the network's modules in order, and check on a random image that this is how they are called.

        The links are on the CPU, where closed forms are computed.

        Raises:
            NotApplicable: The network is something else.
        """
        sites = {site.module: number for number, site in enumerate(model.sites)}
        links = []
        for group in _collect_groups(model.model):
            weight, bias, dropout = group.linear.weight, group.linear.bias, group.dropout
            links.append(
                Link(
                    name=group.name,
                    weight=weight.double().cpu(),
                    bias=None if bias is None else bias.double().cpu(),
                    activations=tuple(group.activations),
                    site=None if dropout is None else sites[dropout],
                    keep_scale=1.0 if dropout is None else dropout.keep_scale,
                )
            )
        chain = cls(tuple(links))
        if not links or not chain._agrees_with(model):
            raise NotApplicable("the network is not a plain chain of its linear layers")
        if len(model.sites) != sum(link.site is not None for link in links[:-1]):
            raise NotApplicable("dropout is not called once each between linear layers")
        return chain

    @full_precision_products()
    def _agrees_with(self, model: BatchedGradientEngine) -> bool:
        """Tell whether the chain computes the model's logits of random images, dropout off."""
        x = probe_batch(model, victims=1, images=2).x[0]
        with torch.no_grad(), use_masks(model.sites, None):
            expected = model.model(x).double().cpu()
        widths = [x[0].numel(), *(len(link.weight) for link in self.links)]
        if any(link.weight.shape[1] != width for link, width in zip(self.links, widths, strict=False)):
            return False
        first = self.links[0]
        logits = F.linear(x.double().cpu().flatten(1), first.weight, first.bias)
        for before, link in pairwise(self.links):
            logits = F.linear(before.activate(logits), link.weight, link.bias)
        if logits.shape != expected.shape:
            return False
        return bool((logits - expected).norm() <= PROBE_TOLERANCE.get(model.dtype, 1e-3) * expected.norm())

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
            for (link, following), mask in zip(pairwise(self.links), masks, strict=True):
                a = link.activate(before[-1])
                inputs.append(a if mask is None else a * (mask * link.keep_scale))
                before.append(F.linear(inputs[-1], following.weight, following.bias))
            labels = torch.full((len(first),), label, device=first.device)
            loss = F.cross_entropy(before[-1], labels, reduction="sum")
            deltas = torch.autograd.grad(loss, before)
        return [a.detach() for a in inputs], list(deltas)
