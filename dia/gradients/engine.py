"""What an attack needs of a model, however its gradients are computed."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from dia.gradients.factored import ParameterGradient
from dia.models.dropout import Site


class GradientEngine(Protocol):
    """A client's model that yields what every victim sends, and the loss behind it.

    Attributes:
        model: The model as the server sent it, parameters frozen.
        shape: (C, H, W) of one image.
        num_classes: Number of outputs.
        sites: The masks that a pass needs: one a place where the model drops (and, with local steps, one a step).
        per_victim_parameters: Names of parameters whose gradient is computed one victim at a time.
    """

    model: nn.Module
    shape: tuple[int, int, int]
    num_classes: int
    sites: list[Site]
    per_victim_parameters: list[str]

    def gradients(
        self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor, *, differentiable: bool
    ) -> dict[str, ParameterGradient]:
        """What every victim sends; see :meth:`dia.gradients.batched.BatchedGradientEngine.gradients`."""

    def losses(self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor) -> Tensor:
        """Every victim's loss (V,)."""
