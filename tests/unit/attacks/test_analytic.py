"""The analytic attack: exact where it claims to be, and a plain refusal everywhere else."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.structured_problems import (
    CLASSES,
    SHAPE,
    build_problem,
    mlp,
    noisy,
    sending,
    sequential,
    vit,
    without,
)
from torch import Tensor, nn

from dia.attacks.analytic.attack import Analytic
from dia.attacks.analytic.attack import build as build_attack
from dia.attacks.analytic.replay import ACCURATE
from dia.attacks.analytic.solve import build_solver
from dia.attacks.outcome import Outcome
from dia.attacks.stop_reasons import NOT_APPLICABLE
from dia.evaluation.mask_recovery import align_masks
from dia.evaluation.scores import worst_claim_cosine
from dia.federated.update import ClientUpdate
from dia.gradients.factored import DenseGradient
from dia.models.vit import ViT


@pytest.mark.parametrize("p", [0.0, 0.1, 0.25, 0.5, 0.75])
@pytest.mark.parametrize(
    "build",
    [
        vit,
        mlp,
        lambda p: sequential(p, bias=True),
        lambda p: sequential(p, bias=False),
        lambda p: sequential(p, activation=nn.GELU, bias=True),
        lambda p: sequential(p, activation=nn.ReLU, bias=False),
    ],
    ids=["vit", "mlp", "tanh with biases", "tanh", "gelu with biases", "relu"],
)
def test_one_image_is_recovered_from_a_float32_gradient(build: Callable[..., Any], p: float) -> None:
    problem, x = build_problem(build(p), victims=4)
    outcome = build_attack(problem).run()
    assert outcome.stop_reason == ["solved"] * 4
    assert bool(outcome.claimed.all())
    assert float((outcome.x - x).square().mean((1, 2, 3, 4)).max()) < 1e-8


@pytest.mark.parametrize("build", [mlp(), sequential(bias=True), sequential(activation=nn.GELU, bias=False)])
def test_masks_of_one_image_are_read_off_exactly(build: Callable[[], nn.Module]) -> None:
    problem, _ = build_problem(build)
    outcome = build_attack(problem).run()
    assert outcome.masks is not None
    for kept, true in zip(outcome.masks, problem.client_masks, strict=True):
        assert torch.equal(kept, true > 0.5)
    assert float(outcome.matching_distance.max()) < 1e-6


def test_masks_are_not_claimed_for_a_transformer() -> None:
    attack = build_attack(build_problem(vit())[0])
    assert attack.run().masks is None


def test_dense_gradients_are_as_good_as_factors() -> None:
    problem, _ = build_problem(mlp())
    dense = {name: DenseGradient(piece.dense()) for name, piece in problem.received.pieces.items()}
    other = replace(problem, received=ClientUpdate(dense, problem.received.norm))
    assert torch.equal(build_attack(problem).run().x, build_attack(other).run().x)


def nearest(outcome: Outcome, x: Tensor) -> Tensor:
    """(V,) MSE of the worst image of a batch, each private image having a reconstruction of its own."""
    distances = torch.cdist(outcome.x.flatten(2), x.flatten(2)) ** 2 / x[0, 0].numel()
    assert all(len(set(row.tolist())) == x.shape[1] for row in distances.argmin(2))
    return distances.min(2).values.max(1).values


@pytest.mark.parametrize("activation", [nn.GELU, nn.ReLU])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_dropout_takes_a_batch_apart(p: float, bias: bool, activation: type[nn.Module]) -> None:
    problem, x = build_problem(sequential(p, activation, bias, width=300), images=3)
    outcome = build_attack(problem).run()
    assert outcome.stop_reason == ["solved"] * 3
    assert bool(outcome.claimed.all())
    assert float(nearest(outcome, x).max()) < 1e-8
    assert outcome.masks is not None
    assert float(outcome.matching_distance.max()) < 1e-6  # with the masks read off, and labels in their place
    if activation is nn.GELU:  # ReLU silences units that were kept
        for kept, true in zip(
            align_masks(outcome.masks, problem.client_masks, problem.labels),
            problem.client_masks,
            strict=True,
        ):
            assert torch.equal(kept, true > 0.5)


@pytest.mark.parametrize("bias", [True, False])
def test_the_zeros_of_relu_separate_a_batch_without_dropout(bias: bool) -> None:
    problem, x = build_problem(sequential(0.0, nn.ReLU, bias, width=300), images=3)
    outcome = build_attack(problem).run()
    assert outcome.stop_reason == ["solved"] * 3
    assert float(nearest(outcome, x).max()) < 1e-8


def test_without_dropout_a_smooth_activation_leaves_a_batch_mixed() -> None:
    outcome = build_attack(build_problem(mlp(0.0), images=2, victims=6)[0]).run()
    assert outcome.stop_reason == ["not_separable"] * 6
    assert not bool(outcome.claimed.any())
    assert float(outcome.x.abs().max()) == 0


@pytest.mark.parametrize("activation", [nn.GELU, nn.ReLU])
def test_more_images_than_classes_are_told_apart(activation: type[nn.Module]) -> None:
    """The next layer tells the scale of a GELU's image, the logits that of a ReLU's, and the replay the labels."""
    problem, x = build_problem(
        sequential(0.5, activation, bias=False, width=400), images=CLASSES + 1, victims=2
    )
    outcome = build_attack(problem).run()
    assert outcome.stop_reason == ["solved"] * 2
    assert float(nearest(outcome, x).max()) < 1e-8
    assert float(outcome.matching_distance.max()) < 1e-6  # with the masks and labels read off


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("images", [1, 3])
def test_black_images_are_images(images: int, bias: bool) -> None:
    problem, x = build_problem(sequential(0.5, nn.GELU, bias, width=300), images=images)
    x[:, 0] = problem.low
    outcome = build_attack(sending(problem, x)).run()
    assert outcome.stop_reason == ["solved"] * 3
    assert float(nearest(outcome, x).max()) < 1e-8


@pytest.mark.parametrize("bias", [True, False])
def test_the_same_picture_twice_is_not_claimed(bias: bool) -> None:
    """Its two masks cannot be told apart, and so nothing can be replayed; with a bias, both pictures are found."""
    problem, x = build_problem(sequential(0.5, nn.GELU, bias, width=300), images=3)
    x[:, 2] = x[:, 1]
    outcome = build_attack(sending(problem, x)).run()
    assert not bool(outcome.claimed.any())
    if bias:
        assert outcome.stop_reason == ["unconfirmed"] * 3
        two = torch.tensor([[True, True, False]] * 3)
        assert float(worst_claim_cosine(x.flatten(2), outcome.x.flatten(2), two).min()) > 1 - 1e-6


def test_a_layer_dropped_as_a_whole_hides_everything() -> None:
    problem, x = build_problem(mlp(0.9))
    masks = [torch.zeros_like(problem.client_masks[0]), *problem.client_masks[1:]]
    outcome = build_attack(sending(replace(problem, client_masks=masks), x)).run()
    assert all("the first layer's gradient is zero" in reason for reason in outcome.stop_reason)
    assert not bool(outcome.claimed.any())


REFUSALS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], tuple[str, ...], str]] = {
    "tokens > dim": (vit(dim=4, heads=2), {}, (), "6 tokens > 4 dimensions"),
    "frozen positions": (
        vit(),
        {},
        ("pos_embedding",),
        "pos_embedding or to_patch_embedding.1.weight was not sent",
    ),
    "frozen embedding": (vit(), {}, ("to_patch_embedding.1.weight",), "was not sent"),
    "vit batch": (vit(), dict(images=2), (), "sums over the 2 images of a batch"),
    "frozen first layer": (mlp(), {}, ("layers.0.linear.weight",), "layers.0.linear.weight was not sent"),
    "frozen later layer": (mlp(), {}, ("layers.2.linear.weight",), "not every layer's gradient was sent"),
    "max pooling": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(45, CLASSES)
        ),
        {},
        (),
        "1 (MaxPool2d) does not fit into a chain of convolutions",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_where_no_closed_form_fits_the_row_says_so(name: str) -> None:
    build, how, frozen, reason = REFUSALS[name]
    said: list[str] = []
    problem, _ = build_problem(build, **how)
    outcome = Analytic(without(problem, *frozen)).run(notify=said.append)
    for stop_reason in outcome.stop_reason:
        assert stop_reason.startswith(NOT_APPLICABLE)
        assert reason in stop_reason
    assert reason in said[0]
    assert outcome.masks is None
    assert not bool(outcome.claimed.any())
    assert float(outcome.x.abs().max()) == 0  # neutral, no guess
    assert bool(torch.isfinite(outcome.matching_distance).all())


class FixedPositions(ViT):
    """Positions that are no parameter."""

    def __init__(self) -> None:
        super().__init__(SHAPE, CLASSES, 0.5, patch=4, dim=16, depth=2, heads=4, hidden=12)
        fixed = self.pos_embedding.detach()
        del self.pos_embedding
        self.register_buffer("pos_embedding", fixed)


class NormalisedPatches(ViT):
    """Layer normalisation between embedding and positions: their gradients are not the embedding's deltas."""

    def __init__(self) -> None:
        super().__init__(SHAPE, CLASSES, 0.5, patch=4, dim=16, depth=2, heads=4, hidden=12)
        self.to_patch_embedding.append(nn.LayerNorm(16))


@pytest.mark.parametrize("build", [FixedPositions, NormalisedPatches])
def test_positions_that_do_not_tell_the_deltas_are_refused(build: Callable[[], nn.Module]) -> None:
    outcome = build_attack(build_problem(build)[0]).run()
    assert all("no learnable positions are added" in reason for reason in outcome.stop_reason)


@pytest.mark.parametrize("build", [vit(), mlp(), sequential(bias=True)])
def test_an_altered_gradient_is_not_claimed(build: Callable[[], nn.Module]) -> None:
    outcome = build_attack(noisy(build_problem(build)[0], 0.1)).run()
    assert outcome.stop_reason == ["inexact"] * 3
    assert not bool(outcome.claimed.any())


@pytest.mark.parametrize("bias", [True, False])
def test_a_little_noise_blurs_the_image_of_a_wide_network_a_little(bias: bool) -> None:
    """Dropped units are then the shortest rows instead of zero ones. What is claimed is known to one part in 1000."""
    problem, x = build_problem(sequential(0.5, nn.GELU, bias=bias, width=400))
    for noise, all_claimed in ((0.001, True), (0.003, True), (0.01, None), (0.03, False)):
        outcome = build_attack(noisy(problem, noise)).run()
        error = (outcome.x - x).flatten(2).norm(dim=2) / x.flatten(2).norm(dim=2)
        assert float(error.max()) < 0.2 * noise
        assert bool((error[outcome.claimed] <= ACCURATE).all())
        if all_claimed is not None:
            assert bool((outcome.claimed == all_claimed).all())
        agreement = [
            float((k == (t > 0.5)).double().mean())
            for k, t in zip(outcome.masks, problem.client_masks, strict=True)
        ]
        assert min(agreement) > 0.9


def test_a_residual_that_is_not_a_number_is_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """As least squares on a GPU leave where the matrix lacks full rank."""
    problem, _ = build_problem(sequential(0.5, nn.GELU, bias=True, width=200), images=2)
    solve = torch.linalg.lstsq

    def rank_deficient(a: Tensor, b: Tensor) -> Any:
        solved = solve(a, b)
        return type("Solved", (), {"solution": torch.full_like(solved.solution, torch.nan)})

    monkeypatch.setattr(torch.linalg, "lstsq", rank_deficient)
    outcome = build_attack(problem).run()
    assert outcome.stop_reason == ["not_separable"] * 3
    assert not bool(outcome.claimed.any())
    assert bool(outcome.x.isfinite().all())


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("build", [vit(), mlp(), sequential(bias=True)], ids=["vit", "mlp", "biases"])
def test_a_gradient_that_is_not_finite_is_no_claim(build: Callable[[], nn.Module], images: int) -> None:
    problem, _ = build_problem(build, images=images)
    pieces = {
        name: DenseGradient(piece.dense() * torch.nan) for name, piece in problem.received.pieces.items()
    }
    outcome = build_attack(replace(problem, received=ClientUpdate(pieces, problem.received.norm))).run()
    assert not bool(outcome.claimed.any())
    assert bool(outcome.x.isfinite().all())


def test_closed_forms_are_solved_on_the_cpu_whatever_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batched QR is looped over on a GPU, whose least squares assume full rank: nothing may stay there."""
    moved: list[Tensor] = []
    to_cpu = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda self: (moved.append(self), to_cpu(self))[1])
    problem, _ = build_problem(sequential(0.5, nn.GELU, bias=True, width=200), images=2)
    solve = build_solver(problem)
    moved.clear()
    solve(0)
    shapes = [tuple(value.shape) for value in moved]
    for piece in problem.received.pieces.values():
        assert tuple(piece.dense().shape[1:]) in shapes
    assert tuple(problem.labels[0].shape) in shapes
    assert shapes.count((2, *SHAPE)) or shapes.count((2, SHAPE[0], 1, 1))


def test_clipping_changes_nothing() -> None:
    problem, x = build_problem(mlp())
    pieces = {name: DenseGradient(0.03 * piece.dense()) for name, piece in problem.received.pieces.items()}
    outcome = build_attack(replace(problem, received=ClientUpdate.of(pieces))).run()
    assert outcome.stop_reason == ["solved"] * 3
    assert float((outcome.x - x).square().mean((1, 2, 3, 4)).max()) < 1e-8


def test_the_worst_claim_counts_whatever_its_scale_and_sign() -> None:
    a, b, c = torch.eye(3, dtype=torch.float64)
    true = torch.stack([torch.stack([a, b]), torch.stack([a, b]), torch.stack([a, b])])
    found = torch.stack([torch.stack([-3 * b, c]), torch.stack([2 * a, a + c]), torch.stack([a, b])])
    claimed = torch.tensor([[True, False], [True, True], [False, False]])
    worst = worst_claim_cosine(true, found, claimed)
    assert worst[:2].tolist() == pytest.approx([1.0, 0.5**0.5])
    assert math.isnan(worst[2])
