"""Learning rate, early stop, best iterate and Adam of many victims at once, against torch and plain loops."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from helpers.problems import problem, run
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dia.attacks.optimisation import adam
from dia.attacks.optimisation.schedules import BestIterate, Plateau
from dia.attacks.problem import Problem

CPU = torch.device("cpu")
LOSSES = st.one_of(
    st.floats(0, 2),
    st.sampled_from([0.5, 0.5 * (1 - 1e-4), 0.5 * (1 - 0.99e-4), 0.5 * (1 - 1.01e-4), 1e-5, 0.99e-5, 0.0]),
)
"""Made-up losses; some lie at the thresholds, and equal ones are common."""


@st.composite
def loss_tables(draw: st.DrawFn, longest: int = 40) -> list[list[float]]:
    """A sequence of losses for each of one to four victims, all of one length."""
    length = draw(st.integers(1, longest))
    return draw(st.lists(st.lists(LOSSES, min_size=length, max_size=length), min_size=1, max_size=4))


@given(
    loss_tables(),
    st.sampled_from([0, 1, 2, 5]),
    st.sampled_from([0.1, 0.5, 0.9]),
    st.sampled_from([0.1, 1.0, 2e-8]),
)
def test_plateau(table: list[list[float]], patience: int, factor: float, rate: float) -> None:
    """Each victim's rates are those of torch's ReduceLROnPlateau, fed with its losses alone."""
    plateau = Plateau.start(len(table), rate, CPU)
    theirs = []
    for _ in table:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate)
        theirs.append(torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience))
    for losses in zip(*table, strict=True):
        plateau.step(torch.tensor(losses, dtype=torch.float64), factor, patience)
        for scheduler, loss in zip(theirs, losses, strict=True):
            scheduler.step(loss)
        assert plateau.lr.tolist() == [s.optimizer.param_groups[0]["lr"] for s in theirs]


@given(loss_tables())
def test_best(table: list[list[float]]) -> None:
    best = BestIterate.start(len(table), CPU)
    everyone = torch.ones(len(table), dtype=torch.bool)
    for iteration, losses in enumerate(zip(*table, strict=True)):
        improved = best.step(torch.tensor(losses, dtype=torch.float64), iteration, everyone)
        for v, sequence in enumerate(table):
            so_far = sequence[: iteration + 1]
            first = so_far.index(min(so_far))  # an equal loss is no improvement
            assert best.loss[v] == min(so_far)
            assert best.iteration[v] == first
            assert best.waited[v] == iteration - first
            assert bool(improved[v]) == (first == iteration)


def test_a_victim_that_has_stopped_keeps_its_best() -> None:
    best = BestIterate.start(2, CPU)
    best.step(torch.tensor([0.5, 0.5]), 0, torch.tensor([True, True]))
    improved = best.step(torch.tensor([0.1, 0.1]), 1, torch.tensor([True, False]))
    assert improved.tolist() == [True, False]
    assert best.loss.tolist() == pytest.approx([0.1, 0.5])
    assert best.iteration.tolist() == [1, 0]


@dataclass
class Plain:
    """What one victim's plain loop ends with; every iteration moves the image by one step of Adam."""

    x: float
    iterations: int
    best_iteration: int
    reason: str


def plain_loop(losses: Sequence[float], settings: Any) -> Plain:
    """Adam with a gradient of one, torch's schedule, early stop, and the iterate after the best loss."""
    x = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([x], lr=settings.learning_rate)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=settings.plateau_factor, patience=settings.plateau_patience
    )
    best, best_iteration, best_x = float("inf"), 0, 0.0
    for iteration in range(settings.max_iterations):
        loss = losses[iteration]
        x.grad = torch.ones_like(x)
        optimizer.step()
        scheduler.step(loss)
        if loss < best:
            best, best_iteration, best_x = loss, iteration, x.item()
        if best < settings.loss_tolerance:
            return Plain(best_x, iteration + 1, best_iteration, "converged")
        if iteration - best_iteration >= settings.early_stop_patience:
            return Plain(best_x, iteration + 1, best_iteration, "no_improvement")
    return Plain(best_x, settings.max_iterations, best_iteration, "max_iterations")


class MadeUp:
    """In place of the matching distance: losses from a table, with a gradient of one by every pixel.

    A victim is known by its label, so that it may share a chunk with anyone.
    """

    def __init__(self, table: list[list[float]]) -> None:
        self.table, self.iterations = table, [0] * len(table)

    def __call__(
        self, model: object, received: object, x: Tensor, masks: object, labels: Tensor, epsilon: str
    ) -> Tensor:
        values = []
        for victim in labels[:, 0].tolist():
            values.append(self.table[victim][self.iterations[victim]])
            self.iterations[victim] += 1
        moving = x.flatten(1).sum(1)
        return torch.tensor(values, dtype=x.dtype) + (moving - moving.detach())


@pytest.fixture(scope="module")
def four() -> Problem:
    """Four victims with endless pixel boxes, each labelled by its number."""
    of = problem("mlp", 0.0, victims=4, tv_weight=0.0)
    of.labels[:, 0] = torch.arange(4)
    of.initialisation.x.zero_()
    of.low.fill_(-torch.inf)
    of.high.fill_(torch.inf)
    return of


@given(
    table=loss_tables(),
    plateau_patience=st.sampled_from([0, 1, 3]),
    early_stop_patience=st.sampled_from([1, 2, 5]),
    victims_per_chunk=st.sampled_from([1, 2, 4]),
)
def test_search(
    four: Problem,
    table: list[list[float]],
    plateau_patience: int,
    early_stop_patience: int,
    victims_per_chunk: int,
) -> None:
    """The whole loop on made-up losses, victims stopping whenever they do."""
    of = four.select(torch.arange(len(table)))
    changes = dict(
        max_iterations=len(table[0]),
        plateau_patience=plateau_patience,
        early_stop_patience=early_stop_patience,
    )
    of = replace(of, settings=of.settings.model_copy(update=changes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dia.attacks.optimisation.objective.matching_distance", MadeUp(table))
        outcome = run("ig", of, victims_per_chunk=victims_per_chunk).outcome
    for v, losses in enumerate(table):
        expected = plain_loop(losses, of.settings)
        assert outcome.iterations[v] == expected.iterations
        assert outcome.best_iteration[v] == expected.best_iteration
        assert outcome.stop_reason[v] == expected.reason
        assert outcome.total_loss[v] == min(losses[: expected.iterations])
        torch.testing.assert_close(
            outcome.x[v], torch.full_like(outcome.x[v], expected.x), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("beta2", [0.999, 0.9])
def test_adam(dtype: torch.dtype, tolerance: float, beta2: float) -> None:
    """Three victims with rates that change, gradients from 1e-12 to 1e4 and exact zeros, 50 steps."""
    rng = torch.Generator().manual_seed(0)
    value = torch.randn(3, 10, generator=rng, dtype=dtype)
    exp_avg, exp_avg_sq = torch.zeros_like(value), torch.zeros_like(value)
    theirs = [row.clone().requires_grad_() for row in value]
    optimizers = [torch.optim.Adam([row], lr=0.1, betas=(0.9, beta2)) for row in theirs]
    for number in range(1, 51):
        exponents = torch.randint(-12, 5, (3, 10), generator=rng)
        gradient = torch.randn(3, 10, generator=rng, dtype=dtype) * 10.0**exponents
        gradient[:, 0] = 0
        lr = 0.1 ** torch.randint(1, 6, (3,), generator=rng).to(torch.float64)
        for v, (row, optimizer) in enumerate(zip(theirs, optimizers, strict=True)):
            row.grad = gradient[v].clone()
            optimizer.param_groups[0]["lr"] = float(lr[v])
            optimizer.step()
        adam.step(value, gradient, exp_avg, exp_avg_sq, number, lr, beta2)
        torch.testing.assert_close(
            value, torch.stack([row.detach() for row in theirs]), rtol=0, atol=tolerance
        )
