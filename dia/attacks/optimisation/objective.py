"""What an iterative attack minimises, per victim (Geiping et al. 2020, eq. 4; Scheliga et al. 2022, section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dia.federated.update import ClientUpdate
from dia.gradients.engine import GradientEngine
from dia.gradients.factored import compare

COSINE_EPSILON = 1e-8


@dataclass(frozen=True)
class Loss:
    """The terms of one evaluation, each (V,)."""

    total: Tensor
    matching_distance: Tensor


def matching_distance(
    model: GradientEngine, received: ClientUpdate, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor
) -> Tensor:
    """``1 - <g, g*> / (|g| |g*| + 1e-8)`` over all parameters together, (V,), differentiable in x and masks."""
    pieces = model.gradients(x, masks, labels, differentiable=True)
    compared = [compare(piece, received.pieces.get(name)) for name, piece in pieces.items()]
    squares, products = (torch.stack(terms).sum(0) for terms in zip(*compared, strict=True))
    return 1 - products / (squares.sqrt() * received.norm + COSINE_EPSILON)


def mask_penalty_weight(masks: Sequence[Tensor], rates: Sequence[float]) -> tuple[Tensor, list[Tensor]]:
    """``sum_l |(1 - mean(m_l)) - p_l|``: each layer's mask should drop the share p_l of its entries.

    Returns:
        The penalty (V,), and per layer its derivative with respect to every entry of the mask, (V,): all entries
        of a layer share it.
    """
    gaps = [(1 - mask.flatten(1).mean(1)) - rate for mask, rate in zip(masks, rates, strict=True)]
    slopes = [-gap.sign() / mask[0].numel() for gap, mask in zip(gaps, masks, strict=True)]
    return torch.stack(gaps).abs().sum(0), slopes


def indecision(masks: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """``sum_l mean(m_l (1 - m_l))``: 0 where every entry is 0 or 1 (ours, not the paper's).

    Returns:
        It (V,), and per layer its derivative with respect to every entry, shaped like the mask.
    """
    terms = [(mask * (1 - mask)).flatten(1).mean(1) for mask in masks]
    return torch.stack(terms).sum(0), [(1 - 2 * mask) / mask[0].numel() for mask in masks]
