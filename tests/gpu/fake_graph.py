"""CUDA graphs of the pretend GPU: what is captured is recorded, and a replay does it again in the same memory."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from gpu.pretend import CAPTURES, COUNTS, _leaves
from torch import Tensor


class FakeGraph:
    """As ``torch.cuda.CUDAGraph``: capturing computes nothing that could be used before the first replay."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def record(self, func: Any, args: Any, kwargs: Any, found: Any) -> None:
        self.operations.append((func, args, kwargs, found))

    def captured(self) -> None:
        """Make what was computed unusable, as a GPU computes nothing while it captures."""
        for _, args, kwargs, found in self.operations:
            old = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
            for tensor in _tensors(found):
                if tensor.untyped_storage().data_ptr() not in old and tensor.is_floating_point():
                    tensor.fill_(torch.nan)

    def replay(self) -> None:
        COUNTS.launches["graph"] += 1
        COUNTS.operations.append("graph")
        for func, args, kwargs, found in self.operations:
            again = func(*args, **kwargs)
            for place, value in zip(_tensors(found), _tensors(again), strict=True):
                if place.data_ptr() != value.data_ptr():  # else a view, or changed in place
                    place.copy_(value)


class FakeStream:
    def wait_stream(self, other: "FakeStream") -> None:
        pass


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in _leaves(value) if isinstance(leaf, Tensor)]


@contextmanager
def _capture(graph: FakeGraph, stream: FakeStream) -> Iterator[None]:
    CAPTURES.append(graph)
    try:
        yield
    finally:
        CAPTURES.remove(graph)
        graph.captured()


@contextmanager
def fake_graphs() -> Iterator[None]:
    """Inside the block torch.cuda's graphs and streams are those of the pretend GPU."""
    fakes = {
        "CUDAGraph": FakeGraph,
        "graph": _capture,
        "Stream": FakeStream,
        "current_stream": FakeStream,
        "stream": lambda stream: nullcontext(),
    }
    with mock.patch.multiple(torch.cuda, **fakes):
        yield
