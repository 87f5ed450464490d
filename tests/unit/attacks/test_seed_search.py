"""Guessing a client's seed from the zeros of its gradient."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.structured_problems import mlp, noisy, problem, sequential, vit
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
    of, x = problem(build, seed_candidates=SPACE, **how)
    masks = draw_client_masks(of.model.sites, 0, of.victim_ids, x.shape[1], space)
    received = ClientUpdate.of(compute_update(of.model, x, masks, of.labels))
    seeds = [derive_seed(0, victim, "client_seed") % (space or 1) for victim in of.victim_ids]
    return replace(of, client_masks=masks, received=received), x, seeds


def found_seeds(of: Problem) -> list[int | None]:
    attack = seed_search.build(of)
    assert isinstance(attack, seed_search.SeedSearch)
    return attack.seeds


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("build", [mlp(), vit(0.25), sequential(0.75, nn.ReLU, width=150)])
def test_the_seed_is_found_and_every_mask_with_it(build: Callable[[], nn.Module], images: int) -> None:
    of, _, seeds = seeded(build, images=images, max_iterations=3)
    attack = seed_search.build(of)
    assert found_seeds(of) == seeds
    for fixed, true in zip(attack.fixed_masks or [], of.client_masks, strict=True):
        assert torch.equal(fixed, true)
    found, informed = attack.run(), wiig.build(of).run()
    assert torch.equal(found.x, informed.x)
    assert found.stop_reason == ["max_iterations"] * 3
    assert found.notes == [f"seeds of 3 of 3 clients found among {SPACE}"]


def test_a_client_outside_the_candidates_is_attacked_as_ig() -> None:
    of, _, _ = seeded(mlp(), space=None, max_iterations=3)
    said: list[str] = []
    outcome = seed_search.build(of).run(notify=said.append)
    assert outcome.stop_reason == ["seed_not_found: max_iterations"] * 3
    assert torch.allclose(outcome.x, ig.build(of).run().x, atol=1e-5)
    assert "no candidate seed fits 3 of 3 clients" in said[0]


def test_too_few_zeros_are_no_evidence() -> None:
    """At p = 0.1 hardly an entry is dropped by all images of a batch: every candidate would fit."""
    of, _, _ = seeded(mlp(0.1), images=4, max_iterations=1)
    assert found_seeds(of) == [None] * 3


def test_noise_hides_the_seed() -> None:
    of, _, _ = seeded(mlp(), max_iterations=1)
    assert found_seeds(noisy(of, 0.01)) == [None] * 3


def test_without_dropout_there_is_no_seed_to_find() -> None:
    of, _, _ = seeded(mlp(0.0), max_iterations=2)
    assert torch.equal(seed_search.build(of).run().x, ig.build(of).run().x)


def test_seeded_clients_share_their_masks_and_others_do_not() -> None:
    of, _ = problem(mlp())
    ids = [f"{number:04d}" for number in range(40)]
    for space, distinct in ((1, 1), (None, 40)):
        (first, *_) = draw_client_masks(of.model.sites, 0, ids, 1, space)
        assert len({tuple(mask.flatten().tolist()) for mask in first}) == distinct
