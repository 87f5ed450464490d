"""Tensors inside lists and dataclasses."""

import json
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dia.utils.tensors import map_tensors, pack_tensors, unpack_tensors


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


def test_what_is_packed_is_json_beside_arrays_and_unpacks_to_the_same() -> None:
    value = Outer([torch.zeros(2), torch.ones(3, dtype=torch.int64)], Inner(torch.eye(2) > 0, "eye"), None, 7)
    arrays: dict[str, np.ndarray] = {}
    packed = json.loads(json.dumps(pack_tensors(value, "v", arrays)))
    assert sorted(arrays) == ["v.inner.values", "v.rows.0", "v.rows.1"]
    back = unpack_tensors(Outer, packed, arrays)
    assert [(row.dtype, row.tolist()) for row in back.rows] == [(r.dtype, r.tolist()) for r in value.rows]
    assert torch.equal(back.inner.values, value.inner.values)
    assert (back.inner.name, back.absent, back.steps) == ("eye", None, 7)
