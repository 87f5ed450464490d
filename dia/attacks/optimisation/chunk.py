"""The victims that share a batch."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from dia.attacks.problem import Problem


@dataclass(frozen=True)
class Chunk:
    """The part that the victims that share a batch need of the whole problem, on the device.

    Attributes:
        problem: The problem of these victims alone.
        fixed_masks: Their fixed masks, per site (V, N, *site.shape); None where none are fixed.
    """

    problem: Problem
    fixed_masks: list[Tensor] | None

    def select(self, rows: Tensor) -> Self:
        """Some of the victims ((K,) rows), where they are: nothing is moved a second time."""
        fixed = self.fixed_masks and [mask[rows] for mask in self.fixed_masks]
        return type(self)(self.problem.select(rows), fixed)


def fill_fixed(masks: list[Tensor], fixed: list[Tensor]) -> list[Tensor]:
    """The fixed entries, and those of ``masks`` where they are NaN."""
    return [torch.where(known.isnan(), mask, known) for mask, known in zip(masks, fixed, strict=True)]
