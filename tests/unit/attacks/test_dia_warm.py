"""A search that begins where the closed form ends."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from helpers.structured_problems import CLASSES, build_problem, mlp, noisy, vit
from torch import Tensor, nn

from dia.attacks import dia_readout, dia_warm
from dia.attacks.analytic import attack as analytic
from dia.attacks.problem import Problem

BARE = {"tv_weight": 0.0, "mask_penalty_weight": 0.0, "lbfgs_start_iteration": 0, "loss_tolerance": 1e-6}
"""The loss is the matching distance alone."""


def underdetermined() -> nn.Module:
    """Convolutions of stride 3: fewer equations than pixels, which the closed form fills with a guess."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(32, CLASSES)
    )


class Numbered:
    """Starts that are filled with their number."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def images(self, restart: int, victim_ids: Sequence[str]) -> Tensor:
        return torch.full_like(self.problem.initialisation.images(0, victim_ids), restart)

    def masks(self, restart: int, victim_ids: Sequence[str]) -> list[Tensor]:
        return [torch.full_like(mask, restart) for mask in self.problem.initialisation.masks(0, victim_ids)]


def test_a_victim_that_the_closed_form_solves_stops_at_once() -> None:
    problem, x = build_problem(mlp(), victims=3, max_iterations=50, **BARE)
    outcome = dia_warm.build(problem).run()
    assert outcome.iterations.tolist() == [1, 1, 1]
    torch.testing.assert_close(outcome.x, x, rtol=0, atol=1e-4)
    assert float(outcome.seconds.min()) > 0


def test_the_starts_are_the_closed_forms_and_later_ones_random() -> None:
    problem, _ = build_problem(underdetermined, victims=2)
    solved = analytic.build(problem).run()
    assert set(solved.stop_reason) == {"underdetermined"}
    start = dia_warm.AnalyticStart(replace(problem, initialisation=Numbered(problem)))
    there = torch.clamp(solved.x, problem.low, problem.high)
    found = start.images(0, problem.victim_ids)
    torch.testing.assert_close(found, there, rtol=0, atol=0.02)  # what is filled in amplifies rounding
    assert torch.equal(start.images(0, problem.victim_ids[1:]), found[1:])  # whatever the chunk
    assert torch.equal(start.images(1, problem.victim_ids), torch.ones_like(solved.x))
    assert all(bool((mask == 1).all()) for mask in start.masks(1, problem.victim_ids))
    assert solved.masks is not None
    for mask, found in zip(start.masks(0, problem.victim_ids), solved.masks, strict=True):
        assert torch.equal(mask.bool(), found)


def test_the_search_goes_on_from_there() -> None:
    """Its best loss is never above the start's, and a start in noise is far above both."""
    problem, _ = build_problem(underdetermined, victims=2, max_iterations=40, learning_rate=0.03, **BARE)
    losses: list[Tensor] = []
    end = dia_warm.build(problem).run(observe=lambda state, total, distance: losses.append(total.clone()))
    cold = dia_readout.build(problem).run()
    assert bool((end.total_loss <= losses[0]).all())
    assert bool((losses[0] < 0.1 * cold.total_loss).all())


def test_where_nothing_is_found_it_is_the_readout() -> None:
    problem, _ = build_problem(vit(), victims=2, images=2, max_iterations=4)
    altered = noisy(problem, 0.01)
    found, plain = dia_warm.build(altered).run(), dia_readout.build(altered).run()
    assert torch.equal(found.x, plain.x)
    assert torch.equal(found.total_loss, plain.total_loss)
