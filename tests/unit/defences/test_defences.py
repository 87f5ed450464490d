"""Defences against plain loops over single numbers, their order, and what reaches the server."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dia.defences.apply import active_defences, defend, keeps_scale
from dia.defences.clip import clip
from dia.defences.noise import add_noise
from dia.defences.prune import prune
from dia.defences.quantise import int8, quantise, sign
from dia.federated.client import apply_defences, compute_update, draw_masks
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.models.build import build_model
from dia.settings.defences import DefenceSettings
from dia.utils.randomness import generator

VICTIMS = 3


def gradient(seed: int = 0) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = {"weight": (4, 5), "bias": (4,), "position": (1, 2, 3)}
    made = {n: torch.randn(VICTIMS, *s, generator=rng, dtype=torch.float64) for n, s in shapes.items()}
    return made | {"absent": torch.zeros(VICTIMS, 2, dtype=torch.float64)}


def generators(*victims: str) -> list[torch.Generator]:
    return [generator(0, victim, "defence_noise") for victim in victims]


def test_clipping_bounds_the_norm_over_all_parameters_of_each_victim() -> None:
    given = gradient()
    norms = [
        math.sqrt(sum(float(x) ** 2 for t in given.values() for x in t[v].flatten())) for v in range(VICTIMS)
    ]
    bound = sorted(norms)[1]  # one victim stays as it is
    clipped = clip(given, bound)
    for v, norm in enumerate(norms):
        factor = min(1.0, bound / norm)
        for name, value in given.items():
            torch.testing.assert_close(clipped[name][v], value[v] * factor, rtol=1e-12, atol=0)


def test_clipping_leaves_a_zero_gradient_zero() -> None:
    assert not clip({"w": torch.zeros(1, 3)}, 1.0)["w"].any()


def test_noise_is_each_victim_s_own_and_has_the_stated_size() -> None:
    zeros = {"w": torch.zeros(2, 100, 100, dtype=torch.float64), "b": torch.zeros(2, 7, dtype=torch.float64)}
    noisy = add_noise(zeros, 0.1, generators("0000", "0001"))
    assert float(noisy["w"][0].std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(noisy["w"][0].mean())) < 4 * 0.1 / 100
    assert not torch.equal(noisy["w"][0], noisy["w"][1])
    alone = add_noise({n: v[1:] for n, v in zeros.items()}, 0.1, generators("0001"))
    for name in zeros:
        assert torch.equal(alone[name][0], noisy[name][1])


@pytest.mark.parametrize("keep", [0.01, 0.3, 1.0])
def test_pruning_keeps_the_largest_of_each_parameter(keep: float) -> None:
    given = gradient()
    for name, value in prune(given, keep).items():
        for v in range(VICTIMS):
            flat = given[name][v].flatten().tolist()
            kept = sorted(range(len(flat)), key=lambda i: -abs(flat[i]))[: math.ceil(keep * len(flat))]
            expected = [x if i in kept else 0.0 for i, x in enumerate(flat)]
            assert value[v].flatten().tolist() == expected


def test_int8_rounds_to_255_levels() -> None:
    given = gradient()
    for name, value in quantise(given, "int8").items():
        for v in range(VICTIMS):
            flat = given[name][v].numpy().ravel()
            step = np.abs(flat).max() / 127
            levels = value[v].numpy().ravel() / (step or 1)
            assert np.abs(levels - np.round(levels)).max() < 1e-9
            assert np.abs(levels).max() <= 127 + 1e-9
            assert np.abs(value[v].numpy().ravel() - flat).max() <= step / 2 + 1e-12


def test_sign_keeps_the_mean_magnitude_and_zeros() -> None:
    value = torch.tensor([[1.0, -3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert sign(value).tolist() == [[2.0, -2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_they_are_applied_in_the_documented_order() -> None:
    settings = DefenceSettings(
        defence_clip_norm=0.5, defence_noise_std=0.2, defence_keep_fraction=0.4, defence_quantisation="int8"
    )
    names = ("0000", "0001", "0002")
    got = defend(gradient(), settings, generators(*names))
    pruned = prune(add_noise(clip(gradient(), 0.5), 0.2, generators(*names)), 0.4)
    by_hand = {name: int8(value) for name, value in pruned.items()}
    for name in by_hand:
        assert torch.equal(got[name], by_hand[name])


@pytest.mark.parametrize(
    ("setting", "keeps"),
    [
        ({}, True),
        ({"defence_clip_norm": 1.0}, False),
        ({"defence_noise_std": 0.1}, True),
        ({"defence_keep_fraction": 0.5}, True),
        ({"defence_quantisation": "int8"}, True),
        ({"defence_quantisation": "sign"}, False),
    ],
)
def test_the_server_gets_full_matrices_of_every_parameter(setting: dict[str, object], keeps: bool) -> None:
    settings = DefenceSettings.model_validate(setting)
    assert active_defences(settings) == list(setting)
    assert keeps_scale(settings) == keeps
    shape = (1, 12, 12)
    model = BatchedGradientEngine(build_model("mlp", shape, 3, 0.5, 0), shape, 3, 1)
    rng = torch.Generator().manual_seed(0)
    x, labels = torch.randn(2, 1, *shape, generator=rng), torch.tensor([[0], [2]])
    ids = ["0000", "0001"]
    plain = compute_update(model, x, draw_masks(model.sites, 0, ids, 1, "client_masks"), labels)
    sent = apply_defences(plain, model, settings, 0, ids)
    if not setting:
        assert sent is plain
        return
    received = ClientUpdate.of(sent)
    dense = {name: piece.dense() for name, piece in plain.items()}
    expected = defend(dense, settings, generators(*ids))
    assert set(received.pieces) == {name for name, _ in model.model.named_parameters()}
    for name, piece in received.pieces.items():
        torch.testing.assert_close(piece.dense(), expected[name], rtol=1e-6, atol=1e-9)
    squares = sum(piece.dense().double().square().flatten(1).sum(1) for piece in received.pieces.values())
    torch.testing.assert_close(received.norm.double(), squares.sqrt(), rtol=1e-5, atol=0)
