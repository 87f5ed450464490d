"""How an attack searches for masks: where they start, and which variables stand for them.

A mask entry is relaxed from {0, 1} to [0, 1]. The variables are the entries themselves, clipped after every step (the
paper's way), or their logits, which need no clipping (ours).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dia.attacks.optimisation.initialisation import MARGIN
from dia.settings.optimisation import SearchSettings


class MaskVariables(Protocol):
    """Variables that stand for masks."""

    @property
    def threshold(self) -> float:
        """The value of a variable from which its entry counts as kept."""

    def variables(self, masks: Tensor) -> Tensor:
        """Variables for masks in [0, 1]; a new tensor."""

    def masks(self, variables: Tensor) -> Tensor:
        """The masks, in [0, 1]."""

    def chain(self, gradient: Tensor, masks: Tensor) -> Tensor:
        """From the gradient with respect to the masks to the one with respect to the variables."""

    @property
    def box(self) -> tuple[float, float]:
        """The least and the largest value of a variable."""


@dataclass(frozen=True)
class ClippedMasks:
    """The variables are the masks, clipped to [0, 1] (Scheliga et al. 2022)."""

    threshold: float = 0.5

    def variables(self, masks: Tensor) -> Tensor:
        return masks.clone()

    def masks(self, variables: Tensor) -> Tensor:
        return variables

    def chain(self, gradient: Tensor, masks: Tensor) -> Tensor:
        return gradient

    @property
    def box(self) -> tuple[float, float]:
        return 0.0, 1.0


@dataclass(frozen=True)
class SigmoidMasks:
    """The variables are logits: m = 1 / (1 + exp(-s z)), with dm/dz = s m (1 - m).

    Attributes:
        slope: s; a larger one hardens the masks (a relaxed Bernoulli variable of temperature 1 / s, without its noise).
    """

    slope: float = 1.0
    threshold: float = 0.0

    def variables(self, masks: Tensor) -> Tensor:
        return torch.logit(masks, eps=MARGIN) / self.slope

    def masks(self, variables: Tensor) -> Tensor:
        return (self.slope * variables).sigmoid()

    def chain(self, gradient: Tensor, masks: Tensor) -> Tensor:
        return self.slope * gradient * masks * (1 - masks)

    @property
    def box(self) -> tuple[float, float]:
        return -math.inf, math.inf


def parametrisation(settings: SearchSettings, done: float) -> MaskVariables:
    """The variables that ``settings`` ask for, when the share ``done`` in [0, 1] of the iterations is done."""
    if settings.mask_parametrisation == "sigmoid":
        return SigmoidMasks(slope=settings.mask_annealing**done)
    return ClippedMasks()
