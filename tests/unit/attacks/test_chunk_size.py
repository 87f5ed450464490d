"""How many victims share a chunk by default, and how much of a cell a device ever holds."""

import copy
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from helpers.structured_problems import build_problem, mlp, noisy, vit
from torch import Tensor

from dia.attacks import dia, wiig
from dia.attacks.optimisation import chunk_size
from dia.attacks.optimisation.attack import GradientMatchingAttack
from dia.attacks.optimisation.state import SearchProgress
from dia.attacks.problem import Problem
from dia.datasets.registry import parse_dataset
from dia.datasets.victim_selection import make_victims
from dia.evaluation.experiment import build_experiment
from dia.execution.run_cell import run_cell
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.settings.scenario import Settings


def test_a_chunk_fills_what_it_may_take_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    attacked, _ = build_problem(vit(), victims=12)

    def victims(room: float) -> int:
        monkeypatch.setitem(chunk_size.CHUNK_BYTES, "cpu", int(room))
        return dia.build(attacked).start().chunk_size

    assert victims(2**40) == 12  # all there are
    assert victims(0) == 1  # at least one, whatever the room
    few = next(free for exponent in range(10, 40) if victims(free := 2**exponent) >= 3)
    assert victims(2 * few) in range(
        2 * victims(few) - 1, 2 * victims(few) + 2
    )  # twice the room, twice as many


def test_a_processor_takes_more_victims_of_a_small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chunk_size.CHUNK_BYTES, "cpu", 2**20)
    counts = []
    for build in (mlp(), vit()):
        attacked, _ = build_problem(build, victims=40)
        counts.append(dia.build(attacked).start().chunk_size)
    assert counts[0] > counts[1] >= 1
    assert counts[1] < 40


def test_the_number_is_the_same_however_much_memory_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    attacked, _ = build_problem(vit(), victims=40)
    monkeypatch.setitem(chunk_size.CHUNK_BYTES, "cpu", 2**20)
    first = dia.build(attacked).start().chunk_size
    filler = []
    for count in range(4):
        filler.append(torch.ones(2**20 + count))
        assert dia.build(attacked).start().chunk_size == first
    assert 1 < first < 40


# What a device holds. The model stands on torch's meta device, which computes nothing, so that what follows it there
# can be told from what stays.


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors that a problem, a state or a part of one holds; not those of the model."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)
    elif is_dataclass(value):
        for field in fields(value):
            if field.name != "model":
                yield from tensors(getattr(value, field.name))


def places(*values: object) -> set[str]:
    return {tensor.device.type for tensor in tensors(list(values))}


def elsewhere(problem: Problem) -> Problem:
    """The same problem with its model, and what a cell puts beside it, on the meta device."""
    engine = copy.copy(problem.model)
    engine.model = copy.deepcopy(problem.model.model).to("meta")
    return replace(problem, model=engine, low=problem.low.to("meta"), high=problem.high.to("meta"))


@pytest.mark.parametrize("defended", [False, True])
@pytest.mark.parametrize("attack", [dia, wiig])
def test_a_chunk_alone_is_moved_to_the_device(attack: Any, defended: bool) -> None:
    problem, _ = build_problem(mlp(), victims=5)
    problem = elsewhere(noisy(problem, 0.1) if defended else problem)
    prepared: GradientMatchingAttack = attack.build(problem, victims_per_chunk=2)
    progress = prepared.start()
    prepared._begin_chunk(progress)
    state = progress.active[0]
    chunk = prepared._chunk(replace(state, victims=torch.arange(2)))  # numbers are not readable there
    assert places(state, chunk.problem.received, chunk.problem.labels, chunk.fixed_masks or []) == {"meta"}
    assert len(chunk.problem) == len(state) == 2
    assert bool(state.masks) == (attack is dia)
    assert bool(chunk.fixed_masks) == (attack is wiig)
    assert places(problem.received, problem.labels, problem.client_masks, prepared.fixed_masks or []) == {
        "cpu"
    }
    assert places(problem.low, problem.high) == {"meta"}  # (C, 1, 1), whatever the victims
    assert places([victims for _, victims in progress.pending]) == {"cpu"}


def test_masks_are_held_as_bits_and_starts_not_at_all() -> None:
    """All that a cell holds for all its victims, on the CPU: images, gradients, and one byte a mask entry."""
    spec = parse_dataset('{"source": "bundled-mnist", "images": 6}', "mnist")
    settings = Settings(victims=6, max_iterations=1)
    job = AttackJob.from_config(
        Cell("default", "mnist", "mlp", "0.5", "dia", 0), settings, spec.model_dump(mode="json")
    )
    experiment = build_experiment(job, make_victims(spec, "mnist"), torch.device("cpu"))
    problem, entries = experiment.problem, 6 * 3 * 512
    assert sum(mask.nbytes for mask in problem.client_masks) == entries
    factors = sum(tensor.nbytes for tensor in tensors(problem.received))
    small = 2**10  # labels, the pixel box
    assert sum(tensor.nbytes for tensor in tensors(problem)) < factors + entries + small
    assert [mask.dtype for mask in problem.masks()] == [torch.float32] * 3


def test_victims_of_a_chunk_are_placed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often some of them stop; what remains of those who stopped goes back."""
    placed: list[list[str]] = []
    original = Problem.placed

    def counting(self: Problem) -> Problem:
        placed.append(list(self.victim_ids))
        return original(self)

    monkeypatch.setattr(Problem, "placed", counting)
    problem, _ = build_problem(mlp(), victims=4, max_iterations=40, early_stop_patience=1, learning_rate=1.0)
    last: list[SearchProgress] = []
    outcome = dia.build(problem, victims_per_chunk=2).run(on_iteration=last.append)
    assert len(outcome.iterations.unique()) > 1
    assert placed == [["0000", "0001"], ["0002", "0003"]]
    for state in last[-1].finished:
        assert not any(t.numel() for t in (state.variables, state.exp_avg, state.exp_avg_sq))
        assert state.best_masks


def test_what_remains_of_a_state_goes_to_the_cpu() -> None:
    problem, _ = build_problem(mlp(), victims=2)
    state = dia.build(problem, victims_per_chunk=2)._initial_state(0, torch.arange(2))
    assert places(state.to(torch.device("meta"))) == {"meta"}
    assert places(state.without_optimiser_state()) == {"cpu"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_memory_of_a_device_does_not_grow_with_the_victims() -> None:
    spec = parse_dataset('{"source": "bundled-mnist", "images": 64}', "mnist")
    peaks = []
    for victims in (8, 64):
        settings = Settings(victims=victims, max_iterations=3, defence_noise_std=1e-3)
        job = AttackJob.from_config(
            Cell("default", "mnist", "mlp", "0.5", "dia", 0), settings, spec.model_dump(mode="json")
        )
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        run_cell(job, make_victims(spec, "mnist"), device="cuda", threads=1, victims_per_chunk=4)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 1.05 * peaks[0]
