"""Whole attacks by the engine against the oracle, in float64; passes, compaction, memory, errors."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from helpers.oracle import Result
from helpers.problems import Run, problem, run, run_oracle
from torch import Tensor

from dia.attacks.optimisation.attack import CHECK_EVERY
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Initialisation, Problem
from dia.attacks.stop_reasons import FAILED, LIMIT
from dia.errors import AttackError
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.factored import DenseGradient

ITERATIVE = ("ig", "wiig", "dia")
TOLERANCE = 1e-9
"""Relative on losses, absolute on images and masks: rounding grows over the iterations."""


def assert_equal(got: Run, expected: Sequence[Result]) -> None:
    """The engine's run and the oracle's results, victim by victim."""
    outcome = got.outcome
    for v, result in enumerate(expected):
        assert outcome.iterations[v] == result.iterations
        assert outcome.stop_reason[v] == result.stop_reason
        assert outcome.best_iteration[v] == result.best_iteration
        assert got.losses[v] == pytest.approx(result.losses, rel=TOLERANCE)
        assert got.rates[v] == pytest.approx(result.rates, rel=1e-12)
        assert outcome.total_loss[v].item() == pytest.approx(result.best_loss, rel=TOLERANCE)
        assert outcome.matching_distance[v].item() == pytest.approx(result.best_distance, rel=TOLERANCE)
        torch.testing.assert_close(outcome.x[v], result.x, rtol=0, atol=TOLERANCE)
        assert (outcome.masks is None) == (not result.masks)
        for kept, last, mask, last_mask in zip(
            outcome.masks or [], got.last_masks, result.masks, result.last_masks, strict=True
        ):
            assert torch.equal(kept[v], mask > 0.5)
            torch.testing.assert_close(last[v], last_mask, rtol=0, atol=TOLERANCE)


def assert_same(got: Run, expected: Run) -> None:
    """Two runs of the engine on the same victims."""
    a, b = got.outcome, expected.outcome
    for name in ("iterations", "best_iteration"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert a.stop_reason == b.stop_reason
    for mine, theirs in zip(got.losses, expected.losses, strict=True):
        assert mine == pytest.approx(theirs, rel=TOLERANCE)
    for mine, theirs in zip([a.x, *got.last_masks], [b.x, *expected.last_masks], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=TOLERANCE)
    for mine, theirs in zip(a.masks or [], b.masks or [], strict=True):
        assert torch.equal(mine, theirs)


def some(problem: Problem, *victims: int) -> Problem:
    return problem.select(torch.tensor(victims))


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("model", ["mlp", "vit"])
@pytest.mark.parametrize("attack", ITERATIVE)
def test_whole_attack(attack: str, model: str, images: int) -> None:
    of = problem(model, 0.3, images=images)
    assert_equal(run(attack, of), run_oracle(attack, of, model))


@pytest.mark.parametrize("attack", ITERATIVE)
def test_without_dropout(attack: str) -> None:
    of = problem("mlp", 0.0)
    assert_equal(run(attack, of), run_oracle("ig", of, "mlp"))


@pytest.mark.parametrize("attack", ITERATIVE)
def test_plateau(attack: str) -> None:
    """A patience of one iteration: rates fall, for each victim when its own loss stalls."""
    of = problem("mlp", 0.5, victims=4, plateau_patience=1, learning_rate=0.5, plateau_factor=0.5)
    got = run(attack, of)
    assert_equal(got, run_oracle(attack, of, "mlp"))
    assert len({tuple(rates) for rates in got.rates}) > 1


def early() -> Problem:
    """Eight victims that stop for different reasons at different iterations."""
    how = dict(early_stop_patience=3, loss_tolerance=0.02, learning_rate=0.3, max_iterations=20)
    return problem("mlp", 0.3, victims=8, seed=1, **how)


@pytest.mark.parametrize("attack", ITERATIVE)
def test_victims_leave(attack: str) -> None:
    of = early()
    got = run(attack, of)
    assert_equal(got, run_oracle(attack, of, "mlp"))
    assert len(set(got.outcome.iterations.tolist())) > 2


def test_all_reasons_to_stop_occur() -> None:
    """What the previous test needs to be worth something."""
    reasons = {reason for attack in ITERATIVE for reason in run(attack, early()).outcome.stop_reason}
    assert reasons == {"converged", "no_improvement", "max_iterations"}


@pytest.mark.parametrize("attack", ITERATIVE)
def test_victims_that_leave_change_nobody_else(attack: str) -> None:
    of = early()
    together = run(attack, of)
    for v in range(len(of)):
        alone = run(attack, some(of, v)).outcome
        assert alone.iterations[0] == together.outcome.iterations[v]
        torch.testing.assert_close(alone.x[0], together.outcome.x[v], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("attack", ITERATIVE)
def test_looking_rarely_changes_nothing(monkeypatch: pytest.MonkeyPatch, attack: str) -> None:
    """On a GPU finished victims stay in the batch until the next look; their result is what it was."""
    of = early()
    expected = run(attack, of)
    monkeypatch.setitem(CHECK_EVERY, "cpu", 7)
    got = run(attack, of)
    assert got.losses == [pytest.approx(losses, rel=TOLERANCE) for losses in expected.losses]
    assert torch.equal(got.outcome.iterations, expected.outcome.iterations)
    assert torch.equal(got.outcome.best_iteration, expected.outcome.best_iteration)
    assert got.outcome.stop_reason == expected.outcome.stop_reason
    torch.testing.assert_close(got.outcome.x, expected.outcome.x, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("attack", "model"), [*((name, "mlp") for name in ITERATIVE), ("dia", "vit")])
def test_victims_per_chunk(attack: str, model: str) -> None:
    of = problem(model, victims=16, max_iterations=50)
    expected = run(attack, of, victims_per_chunk=16)
    assert expected.outcome.victims_per_chunk == 16
    for victims_per_chunk in (1, 3, None) if model == "mlp" else (3,):  # the vit takes longer
        assert_same(run(attack, of, victims_per_chunk=victims_per_chunk), expected)


@pytest.mark.parametrize("fails_at", [0, 1, 4])
def test_out_of_memory_halves(fails_at: int) -> None:
    of = early()
    expected = run("dia", of, victims_per_chunk=8)
    said: list[str] = []
    got = run("dia", starved(of, [fails_at]), victims_per_chunk=8, notify=said.append)
    assert_same(got, expected)
    assert len(said) == 1
    assert "out of memory" in said[0]
    assert got.outcome.victims_per_chunk < 8


def test_out_of_memory_halves_until_it_fits() -> None:
    of = problem("mlp", victims=7)
    said: list[str] = []
    got = run("dia", starved(of, [3, 4, 6]), victims_per_chunk=7, notify=said.append)
    assert_same(got, run("dia", of, victims_per_chunk=7))
    assert len(said) == 3


def test_one_victim_that_does_not_fit() -> None:
    of = starved(problem("mlp", victims=2), range(100))
    with pytest.raises(AttackError, match=r"victim 000[01] alone does not fit in the device's memory"):
        run("dia", of, victims_per_chunk=2)


class Starved:
    """A folded model that runs out of memory at the given evaluations."""

    def __init__(self, engine: BatchedGradientEngine, fails_at: Sequence[int]) -> None:
        self.engine, self.fails_at, self.evaluations = engine, fails_at, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.engine, name)

    def gradients(self, *args: object, **how: object) -> object:
        self.evaluations += 1
        if self.evaluations - 1 in self.fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory (made up)")
        return self.engine.gradients(*args, **how)  # type: ignore[arg-type]


class Steep(Starved):
    """A model that makes a gradient by the second victim's image NaN at chosen evaluations."""

    def gradients(self, x: Tensor, *args: object, **how: object) -> object:
        self.evaluations += 1
        if self.evaluations - 1 in self.fails_at:
            spoilt = torch.zeros_like(x)
            spoilt[1, 0, 0, 0, 0] = torch.nan
            x.register_hook(lambda gradient: gradient + spoilt)
        return self.engine.gradients(x, *args, **how)  # type: ignore[arg-type]


def starved(problem: Problem, fails_at: Sequence[int]) -> Problem:
    return replace(problem, model=Starved(problem.model, fails_at))  # type: ignore[arg-type]


def assert_only_the_second_failed(got: Outcome, alone: Outcome, reason: str) -> None:
    """Of three victims the second failed for ``reason``; the others ended as in a run in which nobody does."""
    assert re.match(reason, got.stop_reason[1]), got.stop_reason
    for victim in (0, 2):
        assert got.stop_reason[victim] == alone.stop_reason[victim] == LIMIT
        assert torch.equal(got.x[victim], alone.x[victim])
        assert got.total_loss[victim] == alone.total_loss[victim]


@pytest.mark.parametrize("attack", ITERATIVE)
def test_a_loss_that_is_not_finite_ends_its_victim_alone(attack: str) -> None:
    of = problem("mlp", victims=3)
    alone = run(attack, of, victims_per_chunk=1).outcome
    of.initialisation.x[1, 0, 0, 0, 0] = torch.nan
    got = run(attack, of, victims_per_chunk=1).outcome
    assert_only_the_second_failed(got, alone, "failed: the loss is not finite at iteration 0;")
    together = run(attack, of, victims_per_chunk=3).outcome
    assert together.stop_reason == got.stop_reason
    torch.testing.assert_close(together.x[[0, 2]], got.x[[0, 2]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("attack", ITERATIVE)
def test_gradient_of_a_finite_loss_that_is_not_finite(attack: str) -> None:
    """The sign of NaN is 0: unnoticed, the victim's image would stay as it is and its loss finite."""
    of = problem("mlp", victims=3)
    steep = replace(of, model=Steep(of.model, [2]))  # type: ignore[arg-type]
    got = run(attack, steep, victims_per_chunk=3).outcome
    assert got.stop_reason[1].startswith("failed: the gradient of the loss is not finite at iteration 2;")
    assert got.stop_reason[0] == got.stop_reason[2] == LIMIT
    assert got.iterations.tolist() == [40, 3, 40]


@dataclass(frozen=True)
class SpoiltStarts:
    """The starts of another, NaN in the second victim's image at the starts listed."""

    initialisation: Initialisation
    spoilt: Sequence[int]

    def images(self, restart: int, victim_ids: Sequence[str]) -> Tensor:
        x = self.initialisation.images(0, victim_ids) * (1 - 0.1 * restart)
        if restart in self.spoilt:
            x[[name == "0001" for name in victim_ids]] = torch.nan
        return x

    def masks(self, restart: int, victim_ids: Sequence[str]) -> list[Tensor]:
        return self.initialisation.masks(0, victim_ids)


@pytest.mark.parametrize(("spoilt", "reason"), [((0,), LIMIT), ((1,), LIMIT), ((0, 1), FAILED)])
def test_a_start_that_failed_is_kept_only_where_all_did(spoilt: Sequence[int], reason: str) -> None:
    of = problem("mlp", victims=2, restarts=2)
    got = run("dia", replace(of, initialisation=SpoiltStarts(of.initialisation, spoilt))).outcome
    assert [text.split(":")[0] for text in got.stop_reason] == [LIMIT, reason]
    assert got.restart[1] == (1 if spoilt == (0,) else 0)
    assert got.notes == [f"{len(spoilt)} of 4 starts failed"]
    assert bool(got.x[1].isfinite().all()) == (reason == LIMIT)


def test_client_gradient_that_is_not_finite() -> None:
    values = torch.ones(3, 2, 2)
    values[2, 0, 0] = torch.inf
    with pytest.raises(AttackError, match=r"the client gradient of victim 0002 is not finite"):
        ClientUpdate.of({"weight": DenseGradient(values)})


def test_dia_is_ig_without_dropout() -> None:
    of = problem("mlp", 0.0)
    assert of.masks() == []
    got, expected = run("dia", of), run("ig", of)
    assert got.outcome.masks is None
    assert got.losses == expected.losses
    assert torch.equal(got.outcome.x, expected.outcome.x)


def test_nothing_of_the_problem_is_changed() -> None:
    """One problem serves all attacks, so none may write into it."""
    of = early()

    def held() -> list[Tensor]:
        pieces = [piece.dense() for piece in of.received.pieces.values()]
        return [of.images(), of.labels, *of.client_masks, *of.masks(), *pieces, *of.model.model.parameters()]

    before = [tensor.clone() for tensor in held()]
    for attack in ITERATIVE:
        run(attack, of)
    assert all(torch.equal(a, b) for a, b in zip(before, held(), strict=True))
