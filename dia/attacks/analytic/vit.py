"""Images from learnable positions: a linear system.

Patch t enters a vision transformer as ``e_t = W x_t + b + pos_t``, and nothing is dropped before that sum.
The gradient at ``pos_t`` is therefore the gradient delta_t at the patch embedding's own output, whatever is
dropped later, and the embedding's weight gradient

    dL/dW = sum_t delta_t x_t^T = Delta^T X

is a linear system in the patches X with a known matrix. With one image and no more tokens than dimensions it
has one solution (Lu et al. 2022, arXiv 2112.14087, recover patches likewise; no dropout mask is needed).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.input_layers import PixelLayer
from dia.attacks.analytic.replay import UNEXPLAINED, is_overdetermined
from dia.attacks.problem import Problem
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.probe import PROBE_TOLERANCE, probe_batch
from dia.utils.devices import full_precision_products

MAX_EXTRA_TOKENS = 16
"""Most positions that belong to no patch (class, distillation and register tokens)."""


@dataclass(frozen=True)
class Positions:
    """Learnable positions that are added to embedded patches.

    Attributes:
        layer: The patch embedding.
        parameter: Name of the positions.
        first: Their row that belongs to the first patch (1 behind a class token).
    """

    layer: PixelLayer
    parameter: str
    first: int

    def deltas(self, gradient: Tensor) -> Tensor:
        """The parameter's gradient (1, rows, dim) or (rows, dim) -> the patches' deltas (T, dim)."""
        rows = gradient.reshape(-1, gradient.shape[-1])
        return rows[self.first : self.first + len(self.layer.index)]


def find_positions(problem: Problem, model: BatchedGradientEngine, layer: PixelLayer) -> Positions:
    """The positions that follow the patch embedding ``layer``; the identity is checked on a probe.

    Args:
        problem: Says what was received, and for how many images.
        model: Its model.
        layer: The patch embedding.

    Raises:
        NotApplicable: There are none, they are frozen, there are too many tokens, or too many images.
    """
    received = problem.received.pieces
    tokens, dim = len(layer.index), len(model.model.get_parameter(f"{layer.name}.weight"))
    positions = _match_deltas(model, layer)
    if positions is None:
        raise NotApplicable("no learnable positions are added to the embedded patches")
    if positions.parameter not in received or f"{layer.name}.weight" not in received:
        raise NotApplicable(
            f"the gradient of {positions.parameter} or {layer.name}.weight was not sent (frozen)"
        )
    if tokens > dim:
        raise NotApplicable(f"{tokens} tokens > {dim} dimensions: the linear system is underdetermined")
    if (images := problem.labels.shape[1]) > 1:
        raise NotApplicable(f"position gradients are sums over the {images} images of a batch")
    return positions


def reconstruct(positions: Positions, embedding: Tensor, position: Tensor) -> tuple[Tensor, float]:
    """Solve for the patches of one image.

    Args:
        positions: Where the deltas are.
        embedding: Gradient of the patch embedding's weight (dim, in_features), float64.
        position: Gradient of the positions, float64.

    Returns:
        The layer's inputs (T, in_features) in float64, and their relative error as the residual of the system tells it:
        infinite where there are no more dimensions than tokens, so that any gradient satisfies the system, and at
        least 1 where it is contradicted.

    Raises:
        NotApplicable: The deltas are not linearly independent.
    """
    matrix = positions.deltas(position).T  # (dim, T)
    scale = matrix.norm(dim=0)  # tokens far from the class token's attention have small deltas
    if not bool((scale > 0).all()):
        raise NotApplicable(f"the position gradients of {int((scale == 0).sum())} tokens are zero")
    # By QR of the normalised columns: the normal equations would square the condition number.
    q, r = torch.linalg.qr(matrix / scale)
    if float(r.diagonal().abs().min()) < 1e-7:
        raise NotApplicable("the position gradients are not linearly independent")
    patches = torch.linalg.solve_triangular(r, q.T @ embedding, upper=True) / scale[:, None]
    surplus = (len(matrix) - len(patches)) * embedding.shape[1]
    if not is_overdetermined(surplus, 0, tries=1):
        return patches, math.inf
    noise = (matrix @ patches - embedding).norm() / surplus**0.5
    inverse = torch.linalg.solve_triangular(r, torch.eye(len(r), dtype=r.dtype), upper=True) / scale[:, None]
    error = noise * (embedding.shape[1] * inverse.square().sum()) ** 0.5 / patches.norm()
    explained = noise * embedding.numel() ** 0.5 <= UNEXPLAINED * embedding.norm()
    return patches, float(error if bool(explained) else error.clamp_min(1))


@full_precision_products()
def _match_deltas(model: BatchedGradientEngine, layer: PixelLayer) -> Positions | None:
    """The parameter whose gradient has the deltas of ``layer`` in its rows, on a random image with random masks."""
    x, masks, labels = probe_batch(model, victims=1, images=1)
    gradients = model.gradients(x, masks, labels, differentiable=False)
    tolerance = PROBE_TOLERANCE.get(model.dtype, 1e-3)
    target = gradients[f"{layer.name}.weight"].dense()[0].double().cpu()
    tokens, (patches,) = len(layer.index), layer.inputs(x[0].double().cpu())
    for name, parameter in model.model.named_parameters():
        if parameter.dim() < 2 or parameter.shape[-1] != len(target) or name not in gradients:
            continue
        gradient = gradients[name].dense()[0].double().cpu()
        others = gradient[..., 0].numel() - tokens
        for first in range(others + 1 if others <= MAX_EXTRA_TOKENS else 0):
            candidate = Positions(layer, name, first)
            if (candidate.deltas(gradient).T @ patches - target).norm() < tolerance * target.norm():
                return candidate
    return None
