"""Each victim's gradient by itself, for whatever the folded rules cannot express.

``torch.func`` maps the plain gradient of one victim over all victims. It forms every weight gradient, so it is
slower, but it makes no assumption about how a parameter is used, nor about layers that mix the images of a batch.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from dia.models.dropout import Site, replayed


def gradients(
    model: nn.Module,
    sites: Sequence[Site],
    names: Sequence[str],
    x: Tensor,
    masks: Sequence[Tensor] | None,
    labels: Tensor,
) -> dict[str, Tensor]:
    """Gradients (V, *shape) of the named parameters, differentiable with respect to ``x`` and ``masks``.

    Args:
        model: The client's model.
        sites: Its dropout sites.
        names: Parameters to differentiate.
        x: Images, (V, N, C, H, W).
        masks: Per site (V, N, *site.shape); None without dropout.
        labels: (V, N) class indices.
    """
    parameters = dict(model.named_parameters())
    chosen = {name: parameters[name].detach() for name in names}

    def loss(
        chosen: dict[str, Tensor], x: Tensor, masks: list[Tensor] | None, labels: Tensor
    ) -> Tensor:
        with replayed(sites, masks):
            return F.cross_entropy(functional_call(model, chosen, (x,)), labels)

    mapped = vmap(grad(loss), in_dims=(None, 0, None if masks is None else 0, 0))
    with torch.enable_grad():
        return mapped(chosen, x, None if masks is None else list(masks), labels)
