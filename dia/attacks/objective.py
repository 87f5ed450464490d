"""What an iterative attack minimises, per victim (Geiping et al. 2020, eq. 4; Scheliga et al. 2022, section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dia.client import ClientGradient
from dia.matching.folded import FoldedModel, in_cheaper_form
from dia.matching.pieces import inner

COSINE_EPSILON = 1e-8


@dataclass(frozen=True)
class Loss:
    """The terms of one evaluation, each (V,)."""

    total: Tensor
    matching_distance: Tensor


def matching_distance(
    model: FoldedModel, received: ClientGradient, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor
) -> Tensor:
    """``1 - <g, g*> / (|g| |g*| + 1e-8)`` over all parameters together, (V,), differentiable in x and masks."""
    pieces = model.gradients(x, masks, labels, differentiable=True)
    products, squares = [], []
    for name, piece in pieces.items():
        if name in received.pieces:
            piece = in_cheaper_form(piece, received.pieces[name])
            products.append(inner(piece, received.pieces[name]))
        squares.append(piece.square_norm())
    norm = torch.stack(squares).sum(0).sqrt()
    return 1 - torch.stack(products).sum(0) / (norm * received.norm + COSINE_EPSILON)


def total_variation(x: Tensor) -> Tensor:
    """Anisotropic total variation (V,): mean |dx| + mean |dy| over each victim's (N, C, H, W)."""
    horizontal = (x[..., :, 1:] - x[..., :, :-1]).abs().flatten(1).mean(1)
    vertical = (x[..., 1:, :] - x[..., :-1, :]).abs().flatten(1).mean(1)
    return horizontal + vertical


def mask_penalty(masks: Sequence[Tensor], rates: Sequence[float]) -> Tensor:
    """``sum_l |(1 - mean(m_l)) - p_l|`` (V,): each layer's mask should drop the share p_l of its entries."""
    return torch.stack(
        [((1 - mask.flatten(1).mean(1)) - rate).abs() for mask, rate in zip(masks, rates, strict=True)]
    ).sum(0)
