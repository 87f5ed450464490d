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
    rows = []
    for victim in range(len(x)):
        leaves = {name: model.get_parameter(name).detach().requires_grad_() for name in names}
        own = None if masks is None else [mask[victim] for mask in masks]
        with torch.enable_grad(), use_masks(sites, own):
            loss = F.cross_entropy(functional_call(model, leaves, (x[victim],)), labels[victim])
            rows.append(
                torch.autograd.grad(
                    loss, list(leaves.values()), create_graph=differentiable, materialize_grads=True
                )
            )
    return {name: torch.stack(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
