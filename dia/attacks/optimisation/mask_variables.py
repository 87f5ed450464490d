"""Variables that stand for masks while they are optimised.

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
        """The value of a variable above which its entry counts as kept."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value of a variable."""

    def from_masks(self, masks: Tensor) -> Tensor:
        """Variables for masks in [0, 1]; a new tensor."""

    def to_masks(self, variables: Tensor) -> Tensor:
        """The masks, in [0, 1]."""

    def backward(self, gradient: Tensor, masks: Tensor) -> Tensor:
        """The gradient with respect to the variables, from the one with respect to the masks."""


@dataclass(frozen=True)
class ClippedMasks:
    """The variables are the masks, clipped to [0, 1] (Scheliga et al. 2022)."""

    threshold: float = 0.5
    bounds: tuple[float, float] = (0.0, 1.0)

    def from_masks(self, masks: Tensor) -> Tensor:
        return masks.clone()

    def to_masks(self, variables: Tensor) -> Tensor:
        return variables

    def backward(self, gradient: Tensor, masks: Tensor) -> Tensor:
        return gradient


@dataclass(frozen=True)
class SigmoidMasks:
    """The variables are logits: m = 1 / (1 + exp(-z)), with dm/dz = m (1 - m)."""

    threshold: float = 0.0
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def from_masks(self, masks: Tensor) -> Tensor:
        return torch.logit(masks, eps=MARGIN)

    def to_masks(self, variables: Tensor) -> Tensor:
        return variables.sigmoid()

    def backward(self, gradient: Tensor, masks: Tensor) -> Tensor:
        return gradient * masks * (1 - masks)


def mask_variables(settings: SearchSettings) -> MaskVariables:
    """The variables that ``settings`` ask for."""
    return SigmoidMasks() if settings.mask_parametrisation == "sigmoid" else ClippedMasks()
