"""One CUDA graph instead of hundreds of launches: the evaluation of a chunk is captured once, then replayed.

A small chunk keeps a GPU waiting for the CPU, which launches one kernel after another; a graph launches all of them at
once. The step that follows is not captured: the CPU issues its few launches while the graph still runs.

What a graph reads must lie where it lay when it was captured: images and masks, which steps change in place, and the
weight of the total variation, the one number of an evaluation that changes between iterations. Victims that leave a
chunk move the others elsewhere; their graph is captured anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dia.attacks.optimisation.chunk import Chunk
from dia.attacks.optimisation.objective import Evaluation
from dia.attacks.optimisation.state import SearchState
from dia.gradients.probe import PROBE_TOLERANCE
from dia.utils.devices import is_out_of_memory
from dia.utils.tensors import map_tensors

WARM_UP = 3
"""Evaluations of a chunk before its graph is captured: libraries choose algorithms and allocate workspaces in them."""

Evaluate = Callable[[Chunk, SearchState, Tensor | float], Evaluation]
"""Evaluates a chunk at a state, with a weight of the total variation."""


@dataclass(frozen=True)
class _Captured:
    """A graph, the weight that it reads, and the evaluation that each replay writes."""

    graph: Any  # a torch.cuda.CUDAGraph, which torch does not annotate
    tv_weight: Tensor
    written: Evaluation


class GraphReplay:
    """Evaluations of one run of an attack, replayed where that was asked for and works.

    Args:
        wanted: Whether to try.

    Attributes:
        replayed: Whether any evaluation was a replay.
        fallback: Why no graph is captured any more; empty where none was asked for, or where nothing is in the way.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted, self.replayed, self.fallback = wanted, False, ""
        self._chunk: Chunk | None = None
        self._places: list[tuple[int, ...]] = []
        self._evaluations = 0
        self._captured: _Captured | None = None

    def __call__(self, evaluate: Evaluate, chunk: Chunk, state: SearchState, tv_weight: float) -> Evaluation:
        """The evaluation of a chunk; a replay's tensors hold until the next call."""
        if not self.wanted or self.fallback:
            return evaluate(chunk, state, tv_weight)
        if chunk.problem.device.type != "cuda":
            self.fallback = "the device is no GPU"
            return evaluate(chunk, state, tv_weight)
        places = [_place(tensor) for tensor in (state.x, *state.masks)]
        if chunk is not self._chunk or places != self._places:
            self._captured = None  # its memory goes first
            self._chunk, self._places, self._evaluations = chunk, places, 0
        if self._captured is None:
            found = evaluate(chunk, state, tv_weight)
            self._evaluations += 1
            if self._evaluations >= WARM_UP:
                self._captured = self._capture(evaluate, chunk, state, tv_weight, found)
            return found
        self._captured.tv_weight.fill_(tv_weight)
        self._captured.graph.replay()
        self.replayed = True
        return self._captured.written

    def forget(self) -> None:
        """Give the graph's memory back."""
        self._chunk = self._captured = None

    def _capture(
        self, evaluate: Evaluate, chunk: Chunk, state: SearchState, tv_weight: float, expected: Evaluation
    ) -> _Captured | None:
        """The graph of an evaluation that is known to give ``expected``; None, and the reason noted, where it fails."""
        weight = torch.full((), tv_weight, dtype=torch.float64, device=chunk.problem.device)
        graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        try:
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # once on the stream that captures: it has handles of its own
                evaluate(chunk, state, weight)
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph, stream=side):
                written = evaluate(chunk, state, weight)
            graph.replay()
        except RuntimeError as error:
            what = (
                "no memory is left for it" if is_out_of_memory(error) else str(error).strip().split("\n")[0]
            )
            self.fallback = f"the evaluation could not be captured: {what}"
            return None
        if not _agree(written, expected):
            self.fallback = "a replay did not give what was computed before"
            return None
        return _Captured(graph, weight, written)


def _place(tensor: Tensor) -> tuple[int, ...]:
    """The address of a tensor in memory."""
    return (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), *tensor.shape)


def _agree(one: Evaluation, other: Evaluation) -> bool:
    """Tell whether all tensors of two evaluations are the same, up to the order of sums."""
    pairs = zip(_tensors(one), _tensors(other), strict=True)
    return all(
        torch.allclose(mine, theirs, rtol=0, atol=_tolerance(theirs), equal_nan=True)
        for mine, theirs in pairs
    )


def _tensors(found: Evaluation) -> list[Tensor]:
    tensors: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    map_tensors(found, note)
    return tensors


def _tolerance(values: Tensor) -> float:
    """Relative to the largest finite value."""
    return PROBE_TOLERANCE[values.dtype] * float(values.nan_to_num(0, 0, 0).abs().max())
