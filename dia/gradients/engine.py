"""The interface of a model for attacks, however its gradients are computed."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from dia.gradients.factored import ParameterGradient
from dia.models.buffer_guard import BufferGuard
from dia.models.dropout import Site


class GradientEngine(Protocol):
    """A client's model that yields what every victim sends, and the loss behind it.

    Attributes:
        model: The model as the server sent it; no pass changes its buffers.
        parameters: Those that clients send, by name: what requires gradients in the model that the engine is given.
        buffers: What its forward pass changes besides.
        shape: (C, H, W) of one image.
        num_classes: Number of outputs.
        sites: The masks that a pass needs: one per place where the model drops (and, with local steps, per step).
        per_victim_parameters: Names of parameters whose gradient is computed one victim at a time.
    """

    model: nn.Module
    parameters: dict[str, nn.Parameter]
    buffers: BufferGuard
    shape: tuple[int, int, int]
    num_classes: int
    sites: list[Site]

    @property
    def per_victim_parameters(self) -> list[str]: ...

    def check(self, x: Tensor, labels: Tensor) -> None:
        """See that the engine's shortcuts hold on images (V, N, C, H, W) and labels (V, N) too; else give them up."""

    def gradients(
        self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor, *, differentiable: bool
    ) -> dict[str, ParameterGradient]:
        """The update that every victim sends; see :meth:`dia.gradients.batched.BatchedGradientEngine.gradients`."""

    def losses(self, x: Tensor, masks: Sequence[Tensor] | None, labels: Tensor) -> Tensor:
        """Every victim's loss (V,)."""
