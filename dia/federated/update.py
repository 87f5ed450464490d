"""Updates of several clients, as the server receives them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dia.errors import AttackError
from dia.gradients.factored import DenseGradient, FactoredGradient, ParameterGradient


@dataclass(frozen=True)
class ClientUpdate:
    """The gradient of every parameter as received from V clients, and each client's norm (V,) over all parameters.

    An undefended gradient of images x tokens outer products may be held as its factors: the same matrix, and only
    its products with other gradients are ever used.
    """

    pieces: dict[str, ParameterGradient]
    norm: Tensor

    @classmethod
    def of(cls, pieces: dict[str, ParameterGradient]) -> "ClientUpdate":
        """Compute each client's norm, and check that it is finite.

        Raises:
            AttackError: One of them is not.
        """
        update = cls.unchecked(pieces)
        if not bool(update.finite.all()):
            bad = ", ".join(f"{v:04d}" for v in torch.nonzero(~update.finite).flatten().tolist())
            raise AttackError(
                f"the client gradient of victim {bad} is not finite; check the model and its weights"
            )
        return update

    @classmethod
    def unchecked(cls, pieces: dict[str, ParameterGradient]) -> "ClientUpdate":
        """Compute each client's norm, finite or not."""
        return cls(pieces, torch.stack([piece.square_norm() for piece in pieces.values()]).sum(0).sqrt())

    @property
    def finite(self) -> Tensor:
        """(V,) bool: whether the client's gradient and its norm are."""
        return self.norm.isfinite()

    def select(self, victims: Tensor) -> "ClientUpdate":
        pieces = {name: piece.select(victims) for name, piece in self.pieces.items()}
        return ClientUpdate(pieces, self.norm[victims])

    def to(self, device: torch.device) -> "ClientUpdate":
        pieces = {name: piece.to(device) for name, piece in self.pieces.items()}
        return ClientUpdate(pieces, self.norm.to(device))


def cheaper_form(piece: ParameterGradient) -> ParameterGradient:
    """The gradient as factors only where those have fewer entries than the matrix."""
    if not isinstance(piece, FactoredGradient):
        return piece
    rank, fan_out, fan_in = piece.deltas.shape[2], piece.deltas.shape[3], piece.inputs.shape[3]
    return piece if rank * (fan_in + fan_out) < fan_in * fan_out else DenseGradient(piece.dense())


def concatenate_victims(pieces: Sequence[ParameterGradient]) -> ParameterGradient:
    """One parameter's gradients of several victims as one, victims in order."""
    first = pieces[0]
    if isinstance(first, FactoredGradient):
        factors = [piece for piece in pieces if isinstance(piece, FactoredGradient)]
        deltas = torch.cat([piece.deltas for piece in factors])
        return FactoredGradient(deltas, torch.cat([piece.inputs for piece in factors]), first.shape)
    return DenseGradient(torch.cat([piece.dense() for piece in pieces]))
