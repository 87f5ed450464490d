"""Numbers near zero: small client gradients, candidates whose gradient is zero; against plain double backward."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from helpers.oracle import Client, cosine_distance, norm
from helpers.problems import CLASSES, MODELS, PLAIN_MODELS, problem, run, run_oracle
from torch import Tensor, nn

from dia.attacks.optimisation.objective import matching_distance, perfect_match_distance
from dia.attacks.problem import Problem
from dia.attacks.stop_reasons import LIMIT
from dia.federated.client import compute_update
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.factored import DenseGradient
from dia.models.dropout import replace_dropout

EPSILONS = ("absolute", "relative")


class Confident(nn.Module):
    """Sure of class 0 by a margin, as a trained network is of its training images."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.GELU(), nn.Dropout(0.5), nn.Flatten())
        self.head = nn.Linear(4 * 4 * 4, CLASSES)
        self.margin = margin

    def forward(self, x: Tensor) -> Tensor:
        sure = torch.zeros(len(x), CLASSES, dtype=x.dtype)
        sure[:, 0] = self.margin
        return 1e-3 * self.head(self.features(x)) + sure


def confident(margin: float, victims: int = 2) -> tuple[nn.Module, Tensor, Tensor, list[Tensor], Tensor]:
    """A model, private images (V, 1, 2, 8, 8), a guess, masks and labels."""
    torch.manual_seed(0)
    model = Confident(margin).double()
    x, guess = (torch.randn(victims, 1, 2, 8, 8, dtype=torch.float64) for _ in range(2))
    masks = [torch.randint(2, (victims, 1, 4, 4, 4)).double()]
    return model, x, guess, masks, torch.zeros(victims, 1, dtype=torch.int64)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("margin", [0.0, 5.0, 10.0, 15.0, 25.0])
def test_the_distance_and_its_slope_are_those_of_plain_autograd(margin: float, epsilon: str) -> None:
    model, x, guess, masks, labels = confident(margin)
    client = Client(model, x[0])
    engine = BatchedGradientEngine(replace_dropout(model), (2, 8, 8), CLASSES, 1)
    received = ClientUpdate.of(compute_update(engine, x, masks, labels))
    for at in (guess, x):
        leaf = at.clone().requires_grad_()
        got = matching_distance(engine, received, leaf, masks, labels, epsilon)  # type: ignore[arg-type]
        (slope,) = torch.autograd.grad(got.sum(), leaf)
        for v in range(len(x)):
            own = [mask[v] for mask in masks]
            target = client.gradient(x[v], own, labels[v])
            plain = at[v].clone().requires_grad_()
            gradient = client.gradient(plain, own, labels[v], create_graph=True)
            expected = cosine_distance(gradient, target, norm(target), epsilon)
            assert got[v].item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
            (wanted,) = torch.autograd.grad(expected, plain)
            torch.testing.assert_close(slope[v], wanted, rtol=1e-7, atol=1e-9)
            if at is x:  # the truth: all that is left of its distance is the epsilon
                shift = perfect_match_distance(received.norm, epsilon)[v].item()  # type: ignore[arg-type]
                assert got[v].item() == pytest.approx(shift, rel=1e-6, abs=1e-12)
                square = float(norm(target)) ** 2
                assert shift == pytest.approx(1e-8 / (square + 1e-8) if epsilon == "absolute" else 1e-8)


def test_the_absolute_epsilon_hides_a_perfect_match_of_a_small_gradient_and_the_relative_one_does_not() -> (
    None
):
    """The case that was found: a norm of some 1e-6, and the truth at a distance of 0.998."""
    norms = torch.tensor([5e-6, 1e-4, 1e-2, 0.0], dtype=torch.float64)
    absolute, relative = (perfect_match_distance(norms, epsilon) for epsilon in EPSILONS)  # type: ignore[arg-type]
    assert absolute.tolist() == pytest.approx([0.9975062, 0.5, 1e-4 / 1.0001, 1.0])
    assert relative.tolist() == pytest.approx([1e-8, 1e-8, 1e-8, 1.0])


@pytest.mark.parametrize("attack", ["ig", "wiig", "dia"])
def test_whole_attacks_with_the_relative_epsilon_are_the_oracles(attack: str) -> None:
    of = problem("mlp", cosine_epsilon="relative", max_iterations=15)
    got = run(attack, of)
    for v, expected in enumerate(run_oracle(attack, of, "mlp")):
        assert got.losses[v] == pytest.approx(expected.losses, rel=1e-9)
        torch.testing.assert_close(got.outcome.x[v], expected.x, rtol=0, atol=1e-9)


def scaled(of: Problem, factor: float) -> Problem:
    pieces = {name: DenseGradient(piece.dense() * factor) for name, piece in of.received.pieces.items()}
    return replace(of, received=ClientUpdate.of(pieces))


@pytest.mark.parametrize("factor", [1e-3, 1e-6, 1e-12])
def test_an_attack_with_the_relative_epsilon_does_not_depend_on_the_scale_of_what_was_sent(
    factor: float,
) -> None:
    """But for the epsilon itself, which is relative to the client's gradient alone."""
    of = problem("mlp", cosine_epsilon="relative", max_iterations=10, victims=2)
    x, small = of.images(), scaled(of, factor)
    distances = [matching_distance(p.model, p.received, x, None, p.labels, "relative") for p in (of, small)]
    torch.testing.assert_close(*distances, rtol=1e-6, atol=0)


def empty(masks: Sequence[Tensor], victim: int) -> list[Tensor]:
    """The masks, one victim's all zero."""
    return [mask.index_fill(0, torch.tensor([victim]), 0.0) for mask in masks]


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", ["mlp", "vit"])
def test_where_a_candidates_gradient_is_zero_its_distance_is_one_and_its_slope_zero(
    name: str, epsilon: str
) -> None:
    """The other victims have the numbers that they have alone, bit by bit."""
    of = problem(name, victims=3)
    leaves = [of.images().requires_grad_(), *(m.clone().requires_grad_() for m in empty(of.masks(), 1))]

    class Vanishing:
        """An engine whose second victim's gradient is zero, as a function of image and masks."""

        def gradients(
            self, x: Tensor, masks: Sequence[Tensor], *args: object, **how: bool
        ) -> dict[str, object]:
            factor = torch.tensor([1.0, 0.0, 1.0], dtype=x.dtype)
            found = of.model.gradients(x, masks, *args, **how)  # type: ignore[arg-type]
            return {
                name: DenseGradient(piece.dense() * factor.view(-1, *[1] * (piece.dense().dim() - 1)))
                for name, piece in found.items()
            }

    def slopes(engine: object) -> tuple[Tensor, list[Tensor]]:
        distance = matching_distance(engine, of.received, leaves[0], leaves[1:], of.labels, epsilon)  # type: ignore[arg-type]
        return distance.detach(), list(torch.autograd.grad(distance.sum(), leaves, allow_unused=True))

    distance, gradients = slopes(Vanishing())
    plain, expected = slopes(of.model)
    assert distance[1] == 1
    assert distance[[0, 2]].tolist() == pytest.approx(plain[[0, 2]].tolist(), rel=1e-12)
    for got, wanted in zip(gradients, expected, strict=True):
        assert not got[1].any()
        torch.testing.assert_close(got[[0, 2]], wanted[[0, 2]], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_masks_that_drop_everything_do_not_end_a_search(epsilon: str) -> None:
    """An mlp without biases whose masks are all zero has the gradient zero; the mask penalty leads out of it."""
    of = problem("mlp", victims=3, max_iterations=30, cosine_epsilon=epsilon)
    starts = replace(of.initialisation, mask=empty(of.initialisation.mask, 1))  # type: ignore[type-var, attr-defined]
    got = run("dia", replace(of, initialisation=starts))
    assert got.outcome.stop_reason == [LIMIT] * 3
    assert got.losses[1][0] == pytest.approx(1, abs=1e-2)  # with the total variation and the penalty
    assert got.losses[1][-1] < got.losses[1][0]
    alone = run("dia", of)
    for victim in (0, 2):
        assert got.losses[victim] == pytest.approx(alone.losses[victim], rel=1e-9)


@pytest.mark.parametrize("rate", [0.99, 0.999])
@pytest.mark.parametrize("attack", ["ig", "wiig", "dia"])
def test_rates_near_one_end_in_numbers(rate: float, attack: str) -> None:
    """Nearly all clients drop everything: their gradient is zero, every distance one."""
    of = problem("mlp", rate, victims=4, max_iterations=10)
    outcome = run(attack, of).outcome
    assert outcome.stop_reason == [LIMIT] * 4
    assert bool(outcome.x.isfinite().all())
    for v in range(4):
        if of.received.norm[v] == 0:
            assert outcome.matching_distance[v] == 1


def test_the_plain_model_agrees_that_dropping_everything_gives_no_gradient() -> None:
    kind, architecture, shape = PLAIN_MODELS["mlp"], MODELS["mlp"][1], MODELS["mlp"][2]
    model = kind(shape, CLASSES, 0.5, **architecture).double()
    client = Client(model, torch.zeros(1, *shape, dtype=torch.float64))
    masks = [torch.zeros(1, 12, dtype=torch.float64)] * 2
    gradient = client.gradient(torch.randn(1, *shape, dtype=torch.float64), masks, torch.tensor([1]))
    assert norm(gradient) == 0
