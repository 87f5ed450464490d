"""The loss and its gradients as one compiled graph per size of a chunk, or eagerly and why.

Three quarters of a transformer's iteration are passes over memory; fused into one graph they are a fraction of it.
Everything that differs between chunks, cells and seeds is an input of the graph (images, masks, what clients sent,
labels, weights), so that a grid compiles once per model, rate and size.

Victims stop at different times. A chunk of fewer victims than a graph is for is filled up with copies of its first
victim, and graphs are for the full chunk, a half, a quarter, ... of it. Victims never meet in a graph, so the copies
change nothing.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.stateless import _reparametrize_module

from dia.attacks.optimisation.chunk import Chunk
from dia.attacks.optimisation.graph import Function, compiled
from dia.attacks.optimisation.mask_variables import MaskVariables
from dia.attacks.optimisation.objective import Evaluation, evaluate
from dia.attacks.optimisation.state import SearchState
from dia.attacks.problem import Problem
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.probe import PROBE_TOLERANCE
from dia.utils.devices import is_out_of_memory
from dia.utils.tensors import replace_tensors, tensors_in

CompileSetting = Literal["auto"] | bool
"""``auto`` is to compile where that pays, and compiles nothing until that is measured."""


def default_cache() -> Path:
    """The user's own folder of compiled graphs: ``dia/compiled`` in ``XDG_CACHE_HOME``, else in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "dia", "compiled")


class Compilation:
    """The way in which one run of an attack computes its loss and gradients.

    Args:
        setting: What was asked for.
        cache: Folder of compiled graphs; None for :func:`default_cache`.

    Attributes:
        fallback: Why nothing was compiled, or not all; empty where compilation was not asked for, or all was.
    """

    def __init__(self, setting: CompileSetting, cache: Path | None = None) -> None:
        self.setting, self.cache = setting, (cache or default_cache()).absolute()
        self.fallback = "" if setting is False else "the attack has no iterations"
        self._notify: Callable[[str], None] = lambda line: None
        self._chunk_size = 1
        self._compiles = False
        self._evaluations = {True: 0, False: 0}
        self._graphs: dict[int, Function] = {}
        self._prepared: _Prepared | None = None

    @property
    def used_throughout(self) -> bool:
        """True if there were evaluations, and all of them were compiled."""
        return self._evaluations[True] > 0 and self._evaluations[False] == 0

    def begin(
        self,
        problem: Problem,
        chunk_size: int,
        notify: Callable[[str], None],
    ) -> None:
        """Decide whether to compile; the same for the same cell, kind of device and machine.

        Args:
            problem: All victims of the cell.
            chunk_size: The largest number of victims of a chunk; graphs are for it and its halves.
            notify: Receives a line where compiling was asked for, or began, and does not work.
        """
        self._notify, self._chunk_size = notify, chunk_size
        if self.setting is False:
            return
        reason = _obstacle(problem)
        if self.setting == "auto":
            reason = reason or "auto does not compile yet"
        elif reason is not None:
            notify(f"not compiled: {reason}")
        self._compiles, self.fallback = reason is None, reason or ""

    def evaluate(
        self, chunk: Chunk, state: SearchState, variables: MaskVariables, tv_weight: float
    ) -> Evaluation | None:
        """Evaluate by a graph as :func:`~dia.attacks.optimisation.objective.evaluate` does; None without a graph."""
        found = None
        if self._compiles:
            try:
                found = self._by_graph(chunk, state, variables, tv_weight)
            except Exception as error:  # of torch, of whatever kind: eager mode always works
                if is_out_of_memory(error):
                    raise
                self._give_up(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
        self._evaluations[found is not None] += 1
        return found

    def _by_graph(
        self, chunk: Chunk, state: SearchState, variables: MaskVariables, tv_weight: float
    ) -> Evaluation | None:
        """By the graph for so many victims; None where it turns out to be wrong."""
        size = _padded(len(state), self._chunk_size)
        if self._prepared is None or not self._prepared.is_for(chunk, size):
            self._prepared = _Prepared.of_chunk(chunk, size)
        inputs = self._prepared.inputs(state, tv_weight)
        is_new = size not in self._graphs
        if is_new:
            function = _function(self._prepared.chunk, state, variables)
            self._graphs[size] = compiled(function, inputs, self.cache)
        gradient, total, distance = (part[: len(state)] for part in self._graphs[size](*inputs))
        found = Evaluation(gradient, total, distance)
        if is_new and not _agree(found, evaluate(chunk, state, variables, tv_weight)):
            self._give_up("the compiled graph's gradients differ from the engine's")
            return None
        return found

    def _give_up(self, reason: str) -> None:
        self._compiles, self.fallback = False, reason
        self._graphs.clear()
        self._prepared = None
        self._notify(f"not compiled: {reason}")


@dataclass(frozen=True)
class _Prepared:
    """A chunk filled up to a graph's size.

    Attributes:
        of: The chunk as it was.
        chunk: Filled up.
        rows: (size,) the victim of ``of`` in each place; None where it is full as it was.
        constants: What the graph needs besides the state, in the order of :func:`_function`.
    """

    of: Chunk
    chunk: Chunk
    rows: Tensor | None
    constants: list[Tensor]

    @classmethod
    def of_chunk(cls, chunk: Chunk, size: int) -> "_Prepared":
        count, rows, filled = len(chunk.problem), None, chunk
        if size > count:
            rows = torch.arange(size, device=chunk.problem.device)
            rows = torch.where(rows < count, rows, 0)
            filled = chunk.select(rows)
        constants = [*tensors_in(_Given.of(filled)), *_weights(chunk.problem).values()]
        return cls(chunk, filled, rows, [tensor.detach().contiguous() for tensor in constants])

    def is_for(self, chunk: Chunk, size: int) -> bool:
        return self.of is chunk and len(self.chunk.problem) == size

    def inputs(self, state: SearchState, tv_weight: float) -> list[Tensor]:
        """The inputs of the graph."""
        variables = state.variables if self.rows is None else state.variables[self.rows]
        return [variables.new_full((), tv_weight), variables.contiguous(), *self.constants]


@dataclass(frozen=True)
class _Given:
    """Values that the loss depends on besides the variables and the weights."""

    received: ClientUpdate
    labels: Tensor
    fixed_masks: list[Tensor] | None

    @classmethod
    def of(cls, chunk: Chunk) -> "_Given":
        return cls(chunk.problem.received, chunk.problem.labels, chunk.fixed_masks)


def _weights(problem: Problem) -> dict[str, Tensor]:
    model = problem.model.model
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _function(chunk: Chunk, state: SearchState, variables: MaskVariables) -> Function:
    """The loss and its gradients as a function of tensors alone, in the order of :meth:`_Prepared.inputs`."""
    problem, given, names = chunk.problem, _Given.of(chunk), list(_weights(chunk.problem))

    def function(tv_weight: Tensor, values: Tensor, *constants: Tensor) -> list[Tensor]:
        sent = len(constants) - len(names)
        there, weights = (
            replace_tensors(given, constants[:sent]),
            dict(zip(names, constants[sent:], strict=True)),
        )
        filled = Chunk(replace(problem, received=there.received, labels=there.labels), there.fixed_masks)
        with _reparametrize_module(problem.model.model, weights, tie_weights=True):
            found = evaluate(filled, replace(state, variables=values), variables, tv_weight)
        return [found.gradient, found.total_loss, found.matching_distance]

    return function


def _padded(count: int, largest: int) -> int:
    """The smallest of ``largest`` and its halves, rounded up, that holds ``count``."""
    size = largest
    while (size + 1) // 2 >= count and size > 1:
        size = (size + 1) // 2
    return max(size, count)


def _obstacle(problem: Problem) -> str | None:
    """The reason why a problem cannot be compiled at all."""
    if not isinstance(problem.model, BatchedGradientEngine):
        return "clients make several local steps"
    if problem.model.per_victim_parameters:
        return "gradients are computed one victim at a time"
    if problem.device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
        return f"there is no C++ compiler ({os.environ.get('CXX', 'g++')})"
    return None


def _agree(found: Evaluation, expected: Evaluation) -> bool:
    """Tell whether two evaluations are the same but for rounding, victim by victim; where the second is finite."""
    tolerance = PROBE_TOLERANCE.get(found.total_loss.dtype, 1e-3)
    ours, theirs = ([e.gradient, e.total_loss, e.matching_distance] for e in (found, expected))
    return all(
        bool(((_norms(a - b) <= tolerance * _norms(b)) | ~_norms(b).isfinite()).all())
        for a, b in zip(ours, theirs, strict=True)
    )


def _norms(values: Tensor) -> Tensor:
    return values.flatten(1).norm(dim=1) if values.dim() > 1 else values.abs()
