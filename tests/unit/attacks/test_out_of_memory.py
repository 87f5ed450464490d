"""Running out of memory, wherever it happens and whoever says so, loses no victim and doubles none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.structured_problems import build_problem, mlp

from dia.attacks import dia
from dia.attacks.optimisation import attack
from dia.attacks.optimisation.chunk import Chunk
from dia.attacks.optimisation.lbfgs import BatchedLBFGS
from dia.attacks.optimisation.state import SearchProgress, SearchState
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem
from dia.errors import AttackError

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]


def failing(plain: Callable[..., Any], calls: set[int], error: Exception) -> Callable[..., Any]:
    """``plain``, but the given calls, from 1, raise."""
    made = 0

    def replacement(*args: Any, **how: Any) -> Any:
        nonlocal made
        made += 1
        if made in calls:
            raise error
        return plain(*args, **how)

    return replacement


def failing_halfway(plain: Callable[..., Any], calls: set[int]) -> Callable[..., Any]:
    """``advance``, but the given calls, from 1, change the state and then raise."""

    def torn(state: SearchState, *rest: Any) -> None:
        plain(state, *rest)
        raise ERRORS[0]

    made = 0

    def replacement(*args: Any) -> None:
        nonlocal made
        made += 1
        (torn if made in calls else plain)(*args)

    return replacement


def stopping_problem() -> Problem:
    """Four victims, some of which stop early."""
    changes = dict(max_iterations=40, early_stop_patience=1, learning_rate=1.0)
    return build_problem(mlp(), victims=4, **changes)[0]


def finished_run(problem: Problem) -> tuple[Outcome, SearchProgress, list[str]]:
    progress: list[SearchProgress] = []
    said: list[str] = []
    outcome = dia.build(problem, victims_per_chunk=4).run(on_iteration=progress.append, notify=said.append)
    return outcome, progress[-1], said


def assert_whole(problem: Problem, expected: Outcome) -> None:
    """Every victim is there once, with the numbers that it has in one chunk, and memory ran out at least once."""
    outcome, progress, said = finished_run(problem)
    assert sorted(torch.cat([state.victims for state in progress.finished]).tolist()) == [0, 1, 2, 3]
    assert not progress.active and not progress.pending
    assert said and "out of memory with" in said[0]
    assert torch.equal(outcome.iterations, expected.iterations)
    assert outcome.stop_reason == expected.stop_reason
    torch.testing.assert_close(outcome.x, expected.x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("error", ERRORS, ids=["torch", "cublas", "cudnn"])
@pytest.mark.parametrize("calls", [{1}, {3, 5}])
def test_during_an_evaluation(error: Exception, calls: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    problem = stopping_problem()
    expected = finished_run(problem)[0]
    monkeypatch.setattr(attack, "evaluate", failing(attack.evaluate, calls, error))
    assert_whole(problem, expected)


@pytest.mark.parametrize("part", ["state", "chunk"])
def test_while_stopped_victims_leave(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = stopping_problem()
    expected = finished_run(problem)[0]
    assert len(expected.iterations.unique()) > 1
    if part == "chunk":
        monkeypatch.setattr(Chunk, "select", failing(Chunk.select, {1}, ERRORS[0]))
    else:  # the first selection of rows is of those who stopped
        monkeypatch.setattr(SearchState, "select", failing(SearchState.select, {2}, ERRORS[0]))
    assert_whole(problem, expected)


@pytest.mark.parametrize("calls", [{1}, {3}, {2, 9}])
def test_amid_a_step(calls: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The half-changed state is given up: its victims begin again, those that had stopped do not."""
    problem = stopping_problem()
    expected = finished_run(problem)[0]
    monkeypatch.setattr(attack, "advance", failing_halfway(attack.advance, calls))
    assert_whole(problem, expected)


@pytest.mark.parametrize("calls", [{3}, {7}])
def test_amid_a_step_of_lbfgs(calls: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _ = build_problem(mlp(), victims=4, max_iterations=10, lbfgs_start_iteration=3)
    expected = finished_run(problem)[0]
    monkeypatch.setattr(BatchedLBFGS, "step", failing(BatchedLBFGS.step, calls, ERRORS[0]))
    assert_whole(problem, expected)


def test_amid_the_step_of_a_victim_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack, "advance", failing(attack.advance, set(range(100)), ERRORS[0]))
    with pytest.raises(AttackError, match=r"victim 0000 alone does not fit in the device's memory"):
        finished_run(stopping_problem())


def test_while_a_chunk_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = stopping_problem()
    expected = finished_run(problem)[0]
    monkeypatch.setattr(SearchState, "start", failing(SearchState.start, {1}, ERRORS[0]))
    assert_whole(problem, expected)


def test_halves_wait_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no room for two copies of a state where one evaluation of it did not fit."""
    problem = stopping_problem()
    moved: list[torch.device] = []
    monkeypatch.setattr(attack, "evaluate", failing(attack.evaluate, {2}, ERRORS[0]))
    to = SearchState.to
    monkeypatch.setattr(SearchState, "to", lambda state, device: (moved.append(device), to(state, device))[1])
    halved = dia.build(problem, victims_per_chunk=4)
    progress = halved.start()
    halved._begin_chunk(progress)
    moved.clear()
    halved._halve_chunk(progress, lambda line: None, begin_again=False)
    assert moved == [torch.device("cpu")]
    assert [state.victims.tolist() for state in progress.active] == [[0, 1], [2, 3]]


def test_a_victim_that_cannot_even_be_measured_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack, "victims_that_fit", failing(attack.victims_that_fit, {1}, ERRORS[1]))
    with pytest.raises(AttackError, match=r"victim 0000 alone does not fit in the device's memory"):
        dia.build(stopping_problem()).run()


def test_other_errors_are_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    monkeypatch.setattr(attack, "evaluate", failing(attack.evaluate, {2}, error))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        finished_run(stopping_problem())


def test_the_wait_for_the_device_counts_as_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU has worked only once somebody looks; the clock stops after that."""
    now = [0.0]
    monkeypatch.setattr(attack.time, "perf_counter", lambda: now[0])
    problem, _ = build_problem(mlp(), victims=2, max_iterations=3)

    class Slow(torch.Tensor):
        """A tensor whose value takes two seconds."""

        def __bool__(self) -> bool:
            now[0] += 2.0
            return bool(self.as_subclass(torch.Tensor))

    def iterate(self: attack.GradientMatchingAttack, *arguments: Any) -> None:
        state = arguments[1]
        state.active = state.active.as_subclass(torch.Tensor)
        plain(self, *arguments)
        state.active = state.active.as_subclass(Slow)

    plain = attack.GradientMatchingAttack._iterate
    monkeypatch.setattr(attack.GradientMatchingAttack, "_iterate", iterate)
    assert dia.build(problem, victims_per_chunk=2).run().seconds.tolist() == [3.0, 3.0]
