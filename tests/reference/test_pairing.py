"""All attacks of a (dataset, model, rate, seed) face the same client: weights, masks, gradient, start.

Nor do these depend on how many victims there are, nor do they change silently: a few of their values are
written down here. Changing how something is drawn changes every result; then, and only then, these values
change too.
"""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dia.attacks.problem import Problem
from dia.attacks.registry import ATTACKS
from dia.datasets.victim_set import VictimSet
from dia.evaluation.experiment import build_experiment
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.settings.scenario import Settings


@pytest.fixture(scope="module")
def victim_set() -> VictimSet:
    rng = np.random.default_rng(0)
    return VictimSet(
        images=rng.integers(0, 256, (6, 8, 8, 1), np.uint8),
        labels=np.arange(6) % 3,
        source_indices=np.arange(6),
        mean=np.array([0.5], np.float32),
        std=np.array([0.25], np.float32),
        dataset="made-up",
        source="file",
        source_detail="random pixels",
        num_classes=3,
    )


def prepared(victim_set: VictimSet, *, settings: dict[str, Any] | None = None, **axes: Any) -> Problem:
    """The problem of a cell of two victims; ``axes`` and ``settings`` override."""
    cell = Cell(
        **(
            dict(scenario="default", dataset="made-up", model="mlp", dropout_rate="0.5", attack="dia", seed=3)
            | axes
        )
    )
    chosen = Settings(**(dict(victims=2, precision="float64") | (settings or {})))
    return build_experiment(AttackJob.from_config(cell, chosen, {}), victim_set, torch.device("cpu")).problem


def weights(problem: Problem) -> dict[str, Tensor]:
    return dict(problem.model.model.named_parameters())


def assert_shared(a: Problem, b: Problem, victims: int) -> None:
    """The first victims of both problems are the same clients, attacked from the same start."""
    for name, value in weights(a).items():
        assert torch.equal(value, weights(b)[name])
    for x, y in zip(
        [a.images(), a.labels, *a.client_masks, *a.masks()],
        [b.images(), b.labels, *b.client_masks, *b.masks()],
        strict=True,
    ):
        assert torch.equal(x[:victims], y[:victims])
    assert a.received.pieces.keys() == b.received.pieces.keys()
    for name, piece in a.received.pieces.items():
        torch.testing.assert_close(
            piece.dense()[:victims], b.received.pieces[name].dense()[:victims], rtol=1e-12, atol=0
        )


@pytest.mark.parametrize("model", ["mlp", "vit"])
def test_attacks_are_paired(victim_set: VictimSet, model: str) -> None:
    problems = [prepared(victim_set, model=model, attack=attack) for attack in ATTACKS]
    for other in problems[1:]:
        assert_shared(problems[0], other, victims=2)


@pytest.mark.parametrize("model", ["mlp", "vit"])
def test_victims_do_not_depend_on_each_other(victim_set: VictimSet, model: str) -> None:
    """Nor on scenario or iterations."""
    few = prepared(victim_set, model=model)
    many = prepared(victim_set, model=model, scenario="other", settings=dict(victims=6, max_iterations=7))
    assert_shared(few, many, victims=2)


def test_rates_share_weights_and_start(victim_set: VictimSet) -> None:
    """And a higher rate drops what a lower one drops, and more: one draw, compared with two rates."""
    low, high = prepared(victim_set, dropout_rate="0.25"), prepared(victim_set, dropout_rate="0.75")
    for name, value in weights(low).items():
        assert torch.equal(value, weights(high)[name])
    assert torch.equal(low.images(), high.images())
    for kept_low, kept_high in zip(low.client_masks, high.client_masks, strict=True):
        assert bool((kept_high <= kept_low).all())


def test_precisions_share_their_draws(victim_set: VictimSet) -> None:
    double, single = (prepared(victim_set, settings={"precision": p}) for p in ("float64", "float32"))
    assert single.images().dtype == single.masks()[0].dtype == torch.float32
    assert torch.equal(double.images().float(), single.images())
    assert all(map(torch.equal, double.client_masks, single.client_masks))
    for a, b in zip(double.masks(), single.masks(), strict=True):
        assert torch.equal(a.float(), b)


def test_what_must_differ_does(victim_set: VictimSet) -> None:
    """Victims, seeds, and a client's masks and the attacker's guess."""
    of, other = prepared(victim_set), prepared(victim_set, seed=4)
    assert not torch.equal(of.images()[0], of.images()[1])
    assert not torch.equal(of.images(), other.images())
    assert not torch.equal(weights(of)["layers.0.linear.weight"], weights(other)["layers.0.linear.weight"])
    for client, initial, elsewhere in zip(of.client_masks, of.masks(), other.client_masks, strict=True):
        assert not torch.equal(client[0], client[1])
        assert not torch.equal(client.to(initial), initial)
        assert not torch.equal(client, elsewhere)


def digest(masks: list[Tensor]) -> str:
    bits = torch.cat([mask.flatten() for mask in masks]).to(torch.uint8).numpy()
    return hashlib.sha256(bits.tobytes()).hexdigest()[:16]


def test_draws_never_change(victim_set: VictimSet) -> None:
    of = prepared(victim_set)
    assert digest(of.client_masks) == "c52499f582f98618"
    assert digest(of.masks()) == "45e90781e8be3bbc"
    assert of.images()[0, 0, 0, 0, :3].tolist() == pytest.approx(
        [-2.2622493842722036, -0.2653948185527215, -0.4202771200171854], abs=1e-9
    )
    assert of.images()[1, 0, 0, 7, 7].item() == pytest.approx(-0.9919366802810747, abs=1e-9)
    assert weights(of)["layers.0.linear.weight"][0, :2].tolist() == pytest.approx(
        [0.04763390123844147, -0.11887817084789276], abs=1e-9
    )


def test_vit_draws_never_change(victim_set: VictimSet) -> None:
    of = prepared(victim_set, model="vit")
    assert digest(of.client_masks) == "b4e0d6a8ae917a34"
    assert weights(of)["cls_token"][0, 0, :2].tolist() == pytest.approx(
        [-0.8752155900001526, -0.5875614285469055], abs=1e-9
    )
