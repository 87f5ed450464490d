"""Each victim's gradient by itself, for whatever the folded rules cannot express.

Plain autograd, one victim after another. It forms every weight gradient, so it is slower, but it makes no
assumption about how a parameter is used, nor about layers that mix the images of a batch.
(``torch.func.vmap`` over victims would be faster, but refuses in-place updates such as BatchNorm's running
statistics, and torch 2.13 differentiates a mapped ``batch_norm`` twice to wrong numbers.)
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dia.models.dropout import Site, use_masks


def gradients(
    model: nn.Module,
    sites: Sequence[Site],
    names: Sequence[str],
    x: Tensor,
    masks: Sequence[Tensor] | None,
    labels: Tensor,
) -> dict[str, Tensor]:
    """Gradients (V, *shape) of the named parameters, differentiable where ``x`` or ``masks`` require it.

    Args:
        model: The client's model.
        sites: Its dropout sites.
        names: Parameters to differentiate.
        x: Images, (V, N, C, H, W).
        masks: Per site (V, N, *site.shape); None without dropout.
        labels: (V, N) class indices.
    """
    differentiable = any(tensor.requires_grad for tensor in [x, *(masks or [])])
    found = []
    for victim in range(len(x)):
        own = None if masks is None else [mask[victim] for mask in masks]
        found.append(victim_gradient(model, sites, names, x[victim], own, labels[victim], differentiable))
    zeros = {name: torch.zeros_like(model.get_parameter(name)) for name in names}
    return {
        name: torch.stack([zeros[name] if (value := gradient[name]) is None else value for gradient in found])
        for name in names
    }


def victim_gradient(
    model: nn.Module,
    sites: Sequence[Site],
    names: Sequence[str],
    x: Tensor,
    masks: Sequence[Tensor] | None,
    labels: Tensor,
    differentiable: bool = False,
) -> dict[str, Tensor | None]:
    """One victim's gradient of the named parameters, by plain autograd.

    Args:
        model, sites, names: As for :func:`gradients`.
        x: Images, (N, C, H, W).
        masks: Per site (N, *site.shape); None without dropout.
        labels: (N,) class indices.
        differentiable: Whether the gradient is to be differentiated.

    Returns:
        By name; None for a parameter that takes no part in the loss.
    """
    parameters = dict(model.named_parameters())
    leaves = {name: parameters[name].detach().requires_grad_() for name in names}
    with torch.enable_grad(), use_masks(sites, masks):
        loss = F.cross_entropy(functional_call(model, leaves, (x,)), labels)
        values = torch.autograd.grad(
            loss, list(leaves.values()), create_graph=differentiable, allow_unused=True
        )
    return dict(zip(leaves, values, strict=True))
