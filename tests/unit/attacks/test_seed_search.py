"""Guessing a client's seed from the zeros of its gradient."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.structured_problems import build_problem, mlp, noisy, sequential, vit
from torch import Tensor, nn

from dia.attacks import ig, seed_search, wiig
from dia.attacks.problem import Problem
from dia.federated.client import compute_update, draw_client_masks
from dia.federated.update import ClientUpdate
from dia.utils.randomness import derive_seed

SPACE = 50


def seeded(
    build: Callable[[], nn.Module], space: int | None = SPACE, **how: Any
) -> tuple[Problem, Tensor, list[int]]:
    """A problem whose clients seed their masks from a space, the images, and the seeds."""
    problem, x = build_problem(build, seed_candidates=SPACE, **how)
    masks = draw_client_masks(problem.model.sites, 0, problem.victim_ids, x.shape[1], space)
    received = ClientUpdate.of(compute_update(problem.model, x, masks, problem.labels))
    seeds = [derive_seed(0, victim, "client_seed") % (space or 1) for victim in problem.victim_ids]
    return replace(problem, client_masks=masks, received=received), x, seeds


def found_seeds(problem: Problem) -> list[int | None]:
    attack = seed_search.build(problem)
    assert isinstance(attack, seed_search.SeedSearch)
    return attack.seeds


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("build", [mlp(), vit(0.25), sequential(0.75, nn.ReLU, width=150)])
def test_the_seed_is_found_and_every_mask_with_it(build: Callable[[], nn.Module], images: int) -> None:
    problem, _, seeds = seeded(build, images=images, max_iterations=3)
    attack = seed_search.build(problem)
    assert found_seeds(problem) == seeds
    for fixed, true in zip(attack.fixed_masks or [], problem.client_masks, strict=True):
        assert torch.equal(fixed, true)
    found, informed = attack.run(), wiig.build(problem).run()
    assert torch.equal(found.x, informed.x)
    assert found.stop_reason == ["max_iterations"] * 3
    assert found.notes == [f"seeds of 3 of 3 clients found among {SPACE}"]


def test_a_client_outside_the_candidates_is_attacked_as_ig() -> None:
    problem, _, _ = seeded(mlp(), space=None, max_iterations=3)
    said: list[str] = []
    outcome = seed_search.build(problem).run(notify=said.append)
    assert outcome.stop_reason == ["seed_not_found: max_iterations"] * 3
    assert torch.allclose(outcome.x, ig.build(problem).run().x, atol=1e-5)
    assert "no candidate seed fits 3 of 3 clients" in said[0]


@pytest.mark.parametrize("site", [0, 1])
def test_masks_of_a_seed_but_for_one_entry_are_no_match(site: int) -> None:
    problem, x, _ = seeded(mlp(), max_iterations=1)
    masks = [mask.clone() for mask in problem.client_masks]
    for victim in range(3):
        entry = int(masks[site][victim].float().flatten().argmax())
        masks[site][victim].view(-1)[entry] = False
    update = compute_update(problem.model, x, masks, problem.labels)
    assert found_seeds(replace(problem, received=ClientUpdate.of(update))) == [None] * 3


def test_too_few_zeros_are_no_evidence() -> None:
    """At p = 0.1 hardly an entry is dropped by all images of a batch: every candidate would fit."""
    problem, _, _ = seeded(mlp(0.1), images=4, max_iterations=1)
    assert found_seeds(problem) == [None] * 3


def test_noise_hides_the_seed() -> None:
    problem, _, _ = seeded(mlp(), max_iterations=1)
    assert found_seeds(noisy(problem, 0.01)) == [None] * 3


def test_without_dropout_there_is_no_seed_to_find() -> None:
    problem, _, _ = seeded(mlp(0.0), max_iterations=2)
    assert torch.equal(seed_search.build(problem).run().x, ig.build(problem).run().x)


def test_seeded_clients_share_their_masks_and_others_do_not() -> None:
    problem, _ = build_problem(mlp())
    ids = [f"{number:04d}" for number in range(40)]
    for space, distinct in ((1, 1), (None, 40)):
        (first, *_) = draw_client_masks(problem.model.sites, 0, ids, 1, space)
        assert len({tuple(mask.flatten().tolist()) for mask in first}) == distinct
