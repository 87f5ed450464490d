"""The gradient of one parameter for V victims, in the form that is cheapest to compare.

A layer ``y = W a`` applied to T positions (tokens, images, pixels) has the weight gradient
``G = sum_t delta_t a_t^T``. Kept as the two factors, inner products and norms never form G:

    <G, H>  = sum_{t,s} (delta_t . delta'_s) (a_t . a'_s)        |G|^2 likewise with H = G

This is the ghost-clipping identity of differentially private SGD (Li et al. 2022, arXiv 2110.05679), here for
gradient matching.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dia.gradients.cost_model import keep_factors
from dia.ops import gram, inner_product


@dataclass(frozen=True)
class DenseGradient:
    """A gradient as it is: ``value`` of shape (V, *parameter.shape)."""

    value: Tensor

    def dense(self) -> Tensor:
        """(V, *parameter.shape)."""
        return self.value

    def square_norm(self) -> Tensor:
        """(V,)."""
        return self.value.square().flatten(1).sum(1)

    def select(self, victims: Tensor) -> "DenseGradient":
        return DenseGradient(self.value[victims])

    def to(self, device: torch.device) -> "DenseGradient":
        return DenseGradient(self.value.to(device))

    def detach(self) -> "DenseGradient":
        return DenseGradient(self.value.detach())


@dataclass(frozen=True)
class FactoredGradient:
    """A sum of outer products: ``deltas`` (V, groups, T, out), ``inputs`` (V, groups, T, in).

    ``shape`` is the parameter's shape; its first dimension is groups * out, the others flatten to in.
    """

    deltas: Tensor
    inputs: Tensor
    shape: torch.Size

    def dense(self) -> Tensor:
        """(V, *parameter.shape)."""
        return (self.deltas.transpose(2, 3) @ self.inputs).reshape(-1, *self.shape)

    def square_norm(self) -> Tensor:
        """(V,)."""
        return gram.norm_and_inner_product(
            self.deltas, self.inputs, self.deltas.detach(), self.inputs.detach()
        )[0]

    def select(self, victims: Tensor) -> "FactoredGradient":
        return FactoredGradient(self.deltas[victims], self.inputs[victims], self.shape)

    def to(self, device: torch.device) -> "FactoredGradient":
        return FactoredGradient(self.deltas.to(device), self.inputs.to(device), self.shape)

    def detach(self) -> "FactoredGradient":
        return FactoredGradient(self.deltas.detach(), self.inputs.detach(), self.shape)


ParameterGradient = DenseGradient | FactoredGradient


JOINED = 2**15
"""Most entries of a parameter that is compared together with the other small ones, in one pass instead of one each."""


def compare(
    pieces: Mapping[str, ParameterGradient], received: Mapping[str, ParameterGradient]
) -> tuple[Tensor, Tensor]:
    """``|G|^2`` and ``<G, H>`` (V,) of a candidate's gradient G with the received one H, differentiable once in G.

    Args:
        pieces: G per parameter; kept as factors or formed, whichever :mod:`dia.gradients.cost_model` finds cheaper.
        received: H per parameter, constant; a parameter that took no part in the client's gradient is absent, and zero.
    """
    joined, compared = [], []
    for name, piece in pieces.items():
        other = received.get(name)
        if isinstance(piece, DenseGradient) and other is not None and piece.value[0].numel() <= JOINED:
            joined.append((piece.value.flatten(1), other.dense().flatten(1)))
        else:
            compared.append(compare_parameter(piece, other))
    if joined:
        g, h = zip(*joined, strict=True)
        compared.append(inner_product.norm_and_inner_product(torch.cat(g, 1), torch.cat(h, 1)))
    squares, products = (torch.stack(terms).sum(0) for terms in zip(*compared, strict=True))
    return squares, products


def compare_parameter(piece: ParameterGradient, received: ParameterGradient | None) -> tuple[Tensor, Tensor]:
    """:func:`compare` of one parameter; None stands for a gradient of zero."""
    if received is None:
        square = piece.square_norm()
        return square, torch.zeros_like(square)
    if isinstance(piece, FactoredGradient):
        rank = received.deltas.shape[2] if isinstance(received, FactoredGradient) else None
        tokens, fan_out = piece.deltas.shape[2:]
        if not keep_factors(tokens, rank, piece.inputs.shape[3], fan_out):
            piece = DenseGradient(piece.dense())
    if isinstance(piece, FactoredGradient) and isinstance(received, FactoredGradient):
        return gram.norm_and_inner_product(piece.deltas, piece.inputs, received.deltas, received.inputs)
    if isinstance(piece, FactoredGradient):
        victims, groups, _, fan_out = piece.deltas.shape
        target = received.dense().reshape(victims, groups, fan_out, -1)
        return piece.square_norm(), ((piece.inputs @ target.transpose(2, 3)) * piece.deltas).flatten(1).sum(1)
    return inner_product.norm_and_inner_product(piece.value.flatten(1), received.dense().flatten(1))


def concatenate_calls(pieces: list[FactoredGradient]) -> FactoredGradient:
    """One layer called several times: the outer products of all calls."""
    if len(pieces) == 1:
        return pieces[0]
    deltas = torch.cat([piece.deltas for piece in pieces], dim=2)
    inputs = torch.cat([piece.inputs for piece in pieces], dim=2)
    return FactoredGradient(deltas, inputs, pieces[0].shape)
