"""Tensors inside lists and dataclasses."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dia.utils.tensors import map_tensors


@dataclass
class Inner:
    values: Tensor
    name: str


@dataclass
class Outer:
    rows: list[Tensor]
    inner: Inner
    absent: Inner | None
    steps: int


def test_every_tensor_is_changed_and_nothing_else() -> None:
    value = Outer([torch.zeros(2), torch.ones(3)], Inner(torch.full((1,), 5.0), "five"), None, 7)
    changed = map_tensors(value, lambda tensor: tensor + 1)
    assert [row.tolist() for row in changed.rows] == [[1, 1], [2, 2, 2]]
    assert changed.inner.values.tolist() == [6]
    assert (changed.inner.name, changed.absent, changed.steps) == ("five", None, 7)


def test_the_original_stays_as_it_is() -> None:
    value = [torch.zeros(2)]
    assert map_tensors(value, lambda tensor: tensor + 1) is not value
    assert value[0].tolist() == [0, 0]
