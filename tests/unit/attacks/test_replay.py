"""A claim is a certificate: what is claimed gives the received gradient when it is replayed, and nothing else does."""

from dataclasses import replace

import pytest
import torch
from helpers.structured_problems import build_problem, noisy, sequential
from torch import Tensor, nn

from dia.attacks.analytic import batch
from dia.attacks.analytic.attack import build as build_attack
from dia.attacks.analytic.forward_reading import read_forward
from dia.attacks.analytic.linear_chain import LinearChain
from dia.attacks.analytic.replay import UNEXPLAINED, replay
from dia.attacks.mask_readout.batch_separation import LowRankFactors
from dia.attacks.problem import Problem
from dia.federated.client import compute_update
from dia.federated.update import ClientUpdate
from dia.gradients.factored import DenseGradient

ACTIVATIONS = [nn.GELU, nn.ReLU, nn.Tanh, nn.SELU]


def left_over(problem: Problem, x: Tensor, masks: list[Tensor] | None = None) -> Tensor:
    """The rest of victim 0's gradient behind its images, with its true masks and labels."""
    own = [mask[0] for mask in problem.client_masks] if masks is None else masks
    found = replay(problem, 0, x, own, problem.labels[0])
    return torch.maximum(found.unexplained, found.hidden)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("images", [1, 2, 5, 8])
def test_the_private_images_replay_and_no_others(
    images: int, bias: bool, activation: type[nn.Module]
) -> None:
    problem, x = build_problem(sequential(0.25, activation, bias, width=64), images=images, victims=1)
    assert float(left_over(problem, x[0]).max()) < UNEXPLAINED / 10
    for image in range(images):
        for wrong in (0.98 * x[0, image], -x[0, image], x[0, image].flip(-1), torch.zeros_like(x[0, image])):
            planted = x[0].clone()
            planted[image] = wrong
            assert float(left_over(problem, planted)[image]) > UNEXPLAINED
    masks = [mask[0].clone() for mask in problem.client_masks]
    masks[0].view(-1)[:5] = masks[0].view(-1)[:5].logical_not()
    assert float(left_over(problem, x[0], masks).max()) > UNEXPLAINED


def test_a_wrong_image_does_not_hide_behind_the_others() -> None:
    """Its part of the gradient is tiny where the network is sure of its label."""
    problem, x = build_problem(sequential(0.25, nn.GELU, True, width=64), images=3, victims=1)
    with torch.no_grad():
        last = [m for m in problem.model.model.modules() if isinstance(m, nn.Linear)][-1]
        assert last.bias is not None
        last.bias[problem.labels[0, 0]] += 9
    labels = problem.labels.clone()
    labels[0, 1:] = (labels[0, 0] + 1) % len(last.bias)
    received = ClientUpdate.of(compute_update(problem.model, x, problem.client_masks, labels))
    problem = replace(problem, labels=labels, received=received)
    assert float(left_over(problem, x[0]).max()) < UNEXPLAINED
    planted = x[0].clone()
    planted[0] *= 0.9
    assert float(left_over(problem, planted)[0]) > UNEXPLAINED


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_a_gradient_of_zeros_or_not_of_numbers_is_explained_by_nothing(value: float) -> None:
    problem, x = build_problem(sequential(0.25, nn.GELU, True, width=64), images=2)
    pieces = {n: DenseGradient(torch.full_like(p.dense(), value)) for n, p in problem.received.pieces.items()}
    other = replace(problem, received=ClientUpdate(pieces, problem.received.norm))
    assert not bool((left_over(other, x[0]) <= UNEXPLAINED).any())
    assert not bool(build_attack(other).run().claimed.any())


def test_a_scaled_gradient_replays_and_a_negated_one_does_not() -> None:
    problem, x = build_problem(sequential(0.25, nn.GELU, True, width=64), images=2)
    for factor, replays in ((0.03, True), (-1.0, False)):
        pieces = {n: DenseGradient(factor * p.dense()) for n, p in problem.received.pieces.items()}
        scaled = replace(problem, received=ClientUpdate.of(pieces))
        assert bool((left_over(scaled, x[0]) <= UNEXPLAINED).all()) is replays


def test_noise_leaves_more_than_an_exact_replay() -> None:
    problem, x = build_problem(sequential(0.25, nn.GELU, True, width=64), images=2)
    assert float(left_over(noisy(problem, 0.1), x[0]).min()) > UNEXPLAINED


@pytest.mark.parametrize("activation", [nn.GELU, nn.Tanh, nn.SELU])
def test_masks_and_labels_of_known_images_are_read_layer_by_layer(activation: type[nn.Module]) -> None:
    problem, x = build_problem(sequential(0.25, activation, True, width=64), images=5)
    chain = LinearChain.of(problem.model)
    gradients = {name: problem.gradient(0, name).double() for name in problem.received.pieces}
    masks, labels = read_forward(chain, gradients, x[0].flatten(1).double(), 1e-6)
    assert torch.equal(labels, problem.labels[0])
    for mask, true in zip([m for m in masks if m is not None], problem.client_masks, strict=True):
        assert torch.equal(mask, true[0].flatten(1) > 0.5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("images", [2, 4, 6])
def test_factors_that_only_the_bias_confirms_are_not_claimed(
    images: int, activation: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bias gradient lies in the span of the deltas of every factorisation of the right rank, right or wrong."""
    by_bias = batch.images_by_bias

    def mixed(first: LowRankFactors, bias: Tensor, consistent: float) -> list[batch.Image]:
        turn = torch.eye(images, dtype=torch.float64)
        turn[0, 1] = 0.1  # still an exact factorisation
        deltas, inputs = first.deltas @ turn, first.inputs @ torch.linalg.inv(turn).T
        found = by_bias(first._replace(deltas=deltas, inputs=inputs), bias, consistent)
        assert len(found) == images
        return found

    problem, _ = build_problem(sequential(0.5, activation, True, width=200), images=images)
    assert bool(build_attack(problem).run().claimed.all())
    monkeypatch.setattr(batch, "images_by_bias", mixed)
    outcome = build_attack(problem).run()
    assert outcome.stop_reason == ["unconfirmed"] * 3
    assert not bool(outcome.claimed.any())
