"""Settings of the search against the oracle: unsigned gradients, logits for masks, where masks start, restarts."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.problems import Run, problem, run, run_oracle, settings
from test_attacks import ITERATIVE, assert_equal, assert_same
from torch import Tensor

from dia.attacks.optimisation.initialisation import RandomInitialisation, first_masks, start_generators
from dia.attacks.optimisation.mask_variables import ClippedMasks, MaskVariables, SigmoidMasks
from dia.attacks.optimisation.state import SearchProgress, SearchState
from dia.attacks.problem import Problem
from dia.models.dropout import Dropout, Site


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("attack", ITERATIVE)
def test_unsigned_gradients(attack: str, images: int) -> None:
    of = problem("mlp", 0.3, images=images, signed_gradients=False)
    got = run(attack, of)
    assert_equal(got, run_oracle(attack, of, "mlp"))
    signed = run(attack, replace(of, settings=of.settings.model_copy(update={"signed_gradients": True})))
    assert got.losses != signed.losses


@pytest.mark.parametrize("penalty", [1e-4, 0.5])
@pytest.mark.parametrize("model", ["mlp", "vit"])
def test_logits_for_masks(model: str, penalty: float) -> None:
    of = problem(model, 0.4, mask_parametrisation="sigmoid", mask_penalty_weight=penalty)
    assert_equal(run("dia", of), run_oracle("dia", of, model))


@pytest.mark.parametrize("weight", [0.0, 1e-4, 0.3])
def test_weight_of_the_mask_penalty(weight: float) -> None:
    of = problem("mlp", 0.4, mask_penalty_weight=weight)
    assert_equal(run("dia", of), run_oracle("dia", of, "mlp"))


@pytest.mark.parametrize("weight", [0.0, 0.3])
@pytest.mark.parametrize("attack", ITERATIVE)
def test_weight_of_the_total_variation(attack: str, weight: float) -> None:
    of = problem("mlp", 0.4, images=2, tv_weight=weight)
    assert_equal(run(attack, of), run_oracle(attack, of, "mlp"))


def test_a_strong_penalty_makes_the_masks_drop_their_share() -> None:
    for name, parametrisation in (("clipped", ClippedMasks()), ("sigmoid", SigmoidMasks())):
        of = problem("mlp", 0.75, mask_penalty_weight=10, mask_parametrisation=name, max_iterations=200)
        variables = run("dia", of).last_masks
        masks = [parametrisation.to_masks(v) for v in variables]
        for mask in masks:
            assert mask.flatten(1).mean(1).tolist() == pytest.approx([0.25] * len(of), abs=0.06)


@pytest.mark.parametrize("parametrisation", [ClippedMasks(), SigmoidMasks()], ids=str)
def test_parametrisations(parametrisation: MaskVariables) -> None:
    """Variables give back the masks that they were made from; the chain rule is autograd's."""
    masks = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)
    variables = parametrisation.from_masks(masks)
    assert parametrisation.to_masks(variables).tolist() == pytest.approx(masks.tolist())
    assert ((variables > parametrisation.threshold) == (masks > 0.5)).all()
    weights = torch.tensor([1.0, -2.0, 3.0, 4.0], dtype=torch.float64)
    variables.requires_grad_()
    (expected,) = torch.autograd.grad((weights * parametrisation.to_masks(variables)).sum(), variables)
    assert parametrisation.backward(weights, masks).tolist() == pytest.approx(expected.tolist())
    extreme = parametrisation.from_masks(torch.tensor([0.0, 1.0]))
    assert extreme.isfinite().all()
    extreme.clamp_(*parametrisation.bounds)
    assert ((parametrisation.to_masks(extreme) >= 0) & (parametrisation.to_masks(extreme) <= 1)).all()


# Recipes beyond the paper's

RECIPES: list[dict[str, Any]] = [
    {"learning_rate_schedule": "cosine", "final_learning_rate": 1e-3},
    {"tv_initial_factor": 30.0, "tv_decay_iterations": 12},
    {"tv_initial_factor": 1000.0, "lbfgs_start_iteration": 5},
    {"mask_learning_rate": 0.02},
    {"mask_learning_rate": 0.3, "learning_rate_schedule": "cosine"},
    {"adam_beta2": 0.9},
    {"learning_rate_schedule": "cosine", "adam_beta2": 0.95},
    {"lbfgs_start_iteration": 5},
    {"lbfgs_start_iteration": 1, "lbfgs_history_size": 3},
    {"lbfgs_start_iteration": 5, "mask_parametrisation": "sigmoid"},
    {"lbfgs_start_iteration": 5, "early_stop_patience": 3},
]


@pytest.mark.parametrize("changes", RECIPES, ids=str)
@pytest.mark.parametrize("model", ["mlp", "vit"])
def test_recipes(model: str, changes: dict[str, Any]) -> None:
    of = problem(model, 0.4, images=2, **changes)
    got = run("dia", of)
    assert_equal(got, run_oracle("dia", of, model))
    defaults = settings().model_dump(include=set(changes))
    usual = run("dia", replace(of, settings=of.settings.model_copy(update=defaults)))
    assert got.losses != usual.losses


@pytest.mark.parametrize("attack", ["ig", "wiig"])
def test_recipes_without_masks(attack: str) -> None:
    of = problem("mlp", 0.4, lbfgs_start_iteration=5, learning_rate_schedule="cosine", adam_beta2=0.9)
    assert_equal(run(attack, of), run_oracle(attack, of, "mlp"))


@pytest.mark.parametrize("changes", RECIPES[-4:], ids=str)
def test_who_shares_a_chunk_of_l_bfgs_changes_nothing(changes: dict[str, Any]) -> None:
    of = problem("vit", 0.4, victims=4, **changes)
    for victims_per_chunk in (1, 3):
        assert_same(run("dia", of, victims_per_chunk=victims_per_chunk), run("dia", of))


def test_l_bfgs_gets_further_than_adam() -> None:
    """What it is for: the same number of evaluations, a smaller distance for every victim."""
    adam, newton = (
        run("dia", problem("vit", 0.5, mask_init="mean", max_iterations=150, **more)).outcome
        for more in ({}, {"lbfgs_start_iteration": 20})
    )
    assert (newton.matching_distance < adam.matching_distance).all()


# Where masks start

SITES = [Site("a", Dropout(0.2), 0, (5, 400)), Site("b", Dropout(0.8), 0, (2000,))]
RATES = [0.2, 0.7]
"""As the attacker takes them to be, not necessarily the sites' own."""


def started(kind: str, seed: int = 0) -> list[Tensor]:
    return first_masks(kind, SITES, RATES, 2, start_generators(seed, ["0000", "0001", "0002"], "m", 0))


@pytest.mark.parametrize("kind", ["bernoulli", "ones", "mean", "uniform"])
def test_where_masks_start(kind: str) -> None:
    for mask, site, rate in zip(started(kind), SITES, RATES, strict=True):
        assert mask.shape == (3, 2, *site.shape)
        assert ((mask >= 0) & (mask <= 1)).all()
        expected = {"bernoulli": 1 - rate, "ones": 1.0, "mean": 1 - rate, "uniform": 0.5}[kind]
        assert float(mask.mean()) == pytest.approx(expected, abs=0.01)
        if kind in ("ones", "mean"):
            assert mask.unique().tolist() == [expected]
        elif kind == "bernoulli":
            assert mask.unique().tolist() == [0, 1]
        else:
            assert float(mask.var()) == pytest.approx(1 / 12, rel=0.05)


def test_masks_start_by_victim_and_seed() -> None:
    first, again, other = started("uniform"), started("uniform"), started("uniform", seed=1)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0][0], first[0][1])
    with pytest.raises(ValueError, match="unknown mask initialisation 'zeros'"):
        started("zeros")


# Restarts


def restarting(problem: Problem, restarts: int) -> Problem:
    """The same problem with further starts, drawn as a cell draws them."""
    shape = (problem.labels.shape[1], *problem.shape)
    starts = RandomInitialisation(0, shape, problem.model.sites, "bernoulli", torch.float64)
    return replace(
        problem, settings=problem.settings.model_copy(update={"restarts": restarts}), initialisation=starts
    )


@pytest.mark.parametrize("victims_per_chunk", [None, 2])
@pytest.mark.parametrize("attack", ITERATIVE)
def test_the_start_with_the_smallest_distance_is_kept(attack: str, victims_per_chunk: int | None) -> None:
    of = restarting(problem("mlp", 0.3, victims=5, max_iterations=25, loss_tolerance=0.02), 3)
    outcome = run(attack, of, victims_per_chunk=victims_per_chunk).outcome
    starts = [run_oracle(attack, of, "mlp", restart) for restart in range(3)]
    for v in range(len(of)):
        distances = [results[v].best_distance for results in starts]
        best = distances.index(min(distances))
        assert outcome.restart[v] == best
        assert outcome.matching_distance[v].item() == pytest.approx(distances[best], rel=1e-9)
        assert outcome.iterations[v] == starts[best][v].iterations
        assert outcome.stop_reason[v] == starts[best][v].stop_reason
        torch.testing.assert_close(outcome.x[v], starts[best][v].x, rtol=0, atol=1e-9)
    assert len(outcome.restart.unique()) > 1
    assert (outcome.seconds > 0).all()


def test_the_first_start_is_that_of_an_attack_without_restarts() -> None:
    of = problem("mlp", 0.3, max_iterations=5)
    once: Run = run("dia", of)
    assert once.outcome.restart.tolist() == [0] * len(of)
    curves: list[Any] = [losses[:5] for losses in run("dia", restarting(of, 2)).losses]
    assert curves == once.losses


def test_only_the_first_start_exists_unless_others_are_given() -> None:
    with pytest.raises(ValueError, match="start 1 was asked for, and there is only the first"):
        problem("mlp").images(1)


# Chunks


def test_chunks_are_begun_one_at_a_time() -> None:
    """A state can be hundreds of megabytes a victim: only those of the current chunk exist."""
    of = restarting(problem("mlp", 0.3, victims=5, max_iterations=3), 2)
    remaining = []

    def on_iteration(progress: SearchProgress) -> None:
        assert [len(state) for state in progress.active] in ([2], [1])
        remaining.append(progress.victims_remaining)

    run("dia", of, victims_per_chunk=2, on_iteration=on_iteration)
    assert sorted(set(remaining), reverse=True) == [10, 8, 6, 5, 3, 1]


def test_a_chunk_that_does_not_fit_when_it_begins_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    of = problem("mlp", 0.3, victims=7, max_iterations=5)
    expected = run("dia", of, victims_per_chunk=7)
    start, said = SearchState.start, []

    def small(of: Problem, victims: Tensor, *rest: Any) -> SearchState:
        if len(victims) > 2:
            raise torch.OutOfMemoryError("does not fit")
        return start(of, victims, *rest)

    monkeypatch.setattr(SearchState, "start", small)
    got = run("dia", of, victims_per_chunk=7, notify=said.append)
    assert said == [
        f"out of memory with {n} victims per chunk: continuing with {m}" for n, m in ((7, 4), (4, 2))
    ]
    assert got.outcome.victims_per_chunk == 2
    assert_same(got, expected)
