"""The analytic attack on convolutional chains: exact where it claims, and it knows what it does not know."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from helpers.structured_problems import CLASSES, build_problem, noisy, without
from torch import Tensor, nn

from dia.attacks.analytic import eight_bits, layer_equations
from dia.attacks.analytic.attack import build
from dia.attacks.analytic.conv_chain import read_chain
from dia.attacks.analytic.convolutions import ConvolutionSolver, Reconstruction
from dia.attacks.analytic.errors import NotApplicable
from dia.attacks.analytic.free_pixels import extended, fill
from dia.attacks.analytic.layer_equations import LayerInput, gradient_matrix
from dia.attacks.problem import Problem
from dia.datasets.registry import parse_dataset
from dia.datasets.victim_selection import make_victims
from dia.execution.run_cell import run_cell
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.factored import DenseGradient
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.models.dropout import replace_dropout
from dia.settings.scenario import Settings

SHAPE = (2, 8, 12)


def network(
    *,
    p: float = 0.5,
    activation: Callable[[], nn.Module] = nn.ReLU,
    bias: bool = True,
    pooling: Callable[[], nn.Module] = nn.Identity,
    **first: int | str | tuple[int, int],
) -> Callable[[], nn.Module]:
    """Two convolutions wide enough to determine their input, a hidden Linear and a head; dropout behind each."""

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 16, **({"kernel_size": 3, "padding": 1, "bias": bias} | first)),  # type: ignore[arg-type]
            pooling(),
            activation(),
            nn.Dropout(p),
            nn.Conv2d(16, 64, 3, stride=2, padding=1, bias=bias),
            activation(),
            nn.Dropout2d(p / 2),
            nn.Flatten(),
            nn.LazyLinear(60, bias=bias),
            activation(),
            nn.Dropout(p),
            nn.Linear(60, CLASSES, bias=bias),
        )

    def lazy() -> nn.Module:
        model = make()
        model(torch.zeros(2, *SHAPE))
        return model

    return lazy


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "no dropout": network(p=0.0),
    "much dropout": network(p=0.75),
    "without biases": network(bias=False),
    "strided": network(kernel_size=4, stride=2),
    "grouped": network(groups=2),
    "dilated": network(dilation=2, padding=2),
    "oblong, same": network(kernel_size=(3, 5), padding="same"),
    "circular": network(padding_mode="circular"),
    "average pooling before the activation": network(pooling=lambda: nn.AvgPool2d(2, ceil_mode=True)),
    "adaptive pooling before the activation": network(pooling=lambda: nn.AdaptiveAvgPool2d((6, 8))),
    "leaky": network(activation=lambda: nn.LeakyReLU(0.1)),
    "gelu": network(activation=nn.GELU),
    "silu": network(activation=nn.SiLU),
    "tanh": network(activation=nn.Tanh),
    "sigmoid": network(activation=nn.Sigmoid, p=0.25),
    "linear": network(activation=nn.Identity),
}


def solve(problem: Problem) -> list[Reconstruction]:
    assert isinstance(problem.model, BatchedGradientEngine)
    solver = ConvolutionSolver(problem, problem.model)
    return [solver(victim) for victim in range(len(problem))]


@pytest.mark.parametrize("name", NETWORKS)
def test_one_image_is_recovered_from_a_float32_gradient(name: str) -> None:
    problem, x = build_problem(NETWORKS[name], victims=3)
    outcome = build(problem).run()
    assert outcome.stop_reason == ["solved"] * 3
    assert bool(outcome.claimed is not None and outcome.claimed.all())
    assert float((outcome.x - x).square().mean((1, 2, 3, 4)).max()) < 1e-9
    assert float(outcome.matching_distance.max()) < 1e-6


@pytest.mark.parametrize("images", [2, 4])
def test_a_batch_is_taken_apart_at_the_last_layers(images: int) -> None:
    problem, x = build_problem(network(p=0.5), images=images, victims=3)
    for found, true in zip(solve(problem), x, strict=True):
        assert found.complete
        assert found.replays
        distances = (
            (found.x[:, None] - true).square().mean((2, 3, 4))
        )  # images of one label come in any order
        assert float(distances.min(1).values.max()) < 1e-9
        assert sorted(distances.argmin(1).tolist()) == list(range(images))


def test_masks_are_read_where_a_gelu_silences_nothing() -> None:
    problem, _ = build_problem(network(activation=nn.GELU))
    outcome = build(problem).run()
    for read, true in zip(outcome.masks or [], problem.client_masks, strict=True):
        assert torch.equal(read, true > 0.5)


def test_few_filters_determine_some_pixels_and_no_image_is_claimed() -> None:
    """Three filters of one pixel determine its two channels where two of them are active and kept."""

    def narrow() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Dropout(0.25), nn.Flatten(), nn.Linear(288, CLASSES)
        )

    problem, x = build_problem(narrow, victims=4)
    outcome = build(problem).run()
    assert outcome.stop_reason == ["underdetermined"] * 4
    assert outcome.claimed is not None
    assert not bool(outcome.claimed.any())
    for found, true in zip(solve(problem), x.double(), strict=True):
        assert 0 < found.rank < found.unknowns
        assert 20 < int(found.determined.sum()) < found.determined.numel() - 20
        assert float(((found.x - true).abs() * found.determined).max()) < 0.05
        assert bool((found.x >= problem.low).all() and (found.x <= problem.high).all())


def test_an_altered_gradient_is_not_claimed() -> None:
    outcome = build(noisy(build_problem(network())[0], 0.01)).run()
    assert outcome.stop_reason == ["inexact"] * 3
    assert outcome.claimed is not None
    assert not bool(outcome.claimed.any())


@pytest.mark.parametrize("bias", [True, False])
def test_a_clipped_gradient_is_as_good(bias: bool) -> None:
    problem, x = build_problem(network(bias=bias))
    pieces = {name: DenseGradient(0.03 * piece.dense()) for name, piece in problem.received.pieces.items()}
    outcome = build(replace(problem, received=ClientUpdate.of(pieces))).run()
    assert outcome.stop_reason == ["solved"] * 3
    assert float((outcome.x - x).square().mean((1, 2, 3, 4)).max()) < 1e-9


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(192, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((x + self.conv(x)).flatten(1))


REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...], int, str]] = {
    "max pooling": (
        network(pooling=lambda: nn.MaxPool2d(2)),
        (),
        1,
        "1 (MaxPool2d) does not fit into a chain",
    ),
    "pooled units": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(120, CLASSES)
        ),
        (),
        1,
        "2 averages units behind their activation",
    ),
    "shortcut": (Shortcut, (), 1, "not a chain"),
    "frozen": (network(), ("4.weight",), 1, "the gradient of 4.weight was not sent"),
    "large batch": (network(), (), 5, "more than 4 images"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name: str) -> None:
    make, frozen, images, reason = REFUSED[name]
    problem = without(build_problem(make, images=images, victims=1)[0], *frozen)
    with pytest.raises(NotApplicable, match=reason.replace("(", r"\(").replace(")", r"\)")):
        solve(problem)


def test_gradient_equations_are_those_of_autograd() -> None:
    conv = nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2)).double()
    model = nn.Sequential(
        replace_dropout(conv), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 4 * 12, CLASSES)
    ).double()
    (stage, _) = read_chain(BatchedGradientEngine(model, SHAPE, CLASSES, 3))
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(3, *SHAPE, generator=rng, dtype=torch.float64)
    conv = conv.requires_grad_()
    z = conv(a)
    deltas = torch.randn(z.shape, generator=rng, dtype=torch.float64)
    (expected,) = torch.autograd.grad((z * deltas).sum(), conv.weight)
    matrix = gradient_matrix(stage.taps(), deltas.flatten(2), 96)
    found = matrix @ a.transpose(0, 1).reshape(2, -1).T  # (out K, channels)
    assert torch.allclose(found.view(4, 6, 2).transpose(1, 2).reshape(expected.shape), expected, atol=1e-12)


def test_unseen_pixels_continue_their_neighbours() -> None:
    seen = torch.zeros(4, 5, dtype=torch.bool)
    seen[:3, :3] = True
    colours = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 4, 5)
    assert torch.equal(extended(colours * seen, seen), colours)


def test_filling_keeps_to_the_equations_and_smooths_the_rest() -> None:
    """Every second pixel is known; the others are free."""
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(192, CLASSES)).double()
    (stage, _) = read_chain(BatchedGradientEngine(model, SHAPE, CLASSES, 1))
    ramp = torch.linspace(-1, 1, 12, dtype=torch.float64).expand(1, *SHAPE).clone()
    known = torch.zeros(1, *SHAPE, dtype=torch.bool)
    known[..., ::2] = True
    found = LayerInput(ramp * known, (~known).double(), known, 192, 96, lambda change: change * ~known)
    low, high = torch.tensor(-1.5), torch.tensor(1.5)
    filled = fill(found, stage, torch.ones(8, 12).bool(), torch.zeros(1, 192), low, high)
    assert torch.equal(filled[known], ramp[known])
    assert float((filled - ramp)[..., :11].abs().max()) < 0.2


def test_cells_of_lenet_are_solved() -> None:
    spec = parse_dataset('{"source": "bundled-mnist", "images": 4}', "mnist")
    cell = Cell("default", "mnist", "lenet", "0.5", "analytic", 0)
    job = AttackJob.from_config(cell, Settings(victims=2), spec.model_dump(mode="json"))
    rows = run_cell(job, make_victims(spec, "mnist"), device="cpu", threads=1, victims_per_chunk=None)
    for row in rows:
        assert row["stop_reason"] == "solved"
        assert row["claimed_fraction"] == 1
        assert row["mse"] < 1e-4  # the last row and column are never seen
        assert row["ssim"] > 0.99
        assert row["matching_distance"] < 1e-6


def test_a_layer_too_large_to_factorise_is_guessed_and_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, x = build_problem(network(p=0.25, kernel_size=1, padding=0), victims=2)
    monkeypatch.setattr(layer_equations, "MOST_UNKNOWNS", 100)
    for found, true in zip(solve(problem), x, strict=True):
        assert not found.complete
        assert not bool(found.determined.any())
        assert float((found.x - true).square().mean()) < 0.02


def test_an_image_of_eight_bits_is_decoded_from_a_filling_that_is_wrong_about_many_pixels() -> None:
    rng = torch.Generator().manual_seed(0)
    low, high = torch.tensor(-2.0).double(), torch.tensor(2.0).double()
    step = (high - low) / 255
    true = low + step * torch.randint(256, (1, 2, 10, 12), generator=rng)
    true[..., -1] = 0.0123  # an unseen column is on no multiple
    seen = torch.ones(10, 12, dtype=torch.bool)
    seen[:, -1] = False
    directions = torch.linalg.qr(torch.randn(240, 8, generator=rng, dtype=torch.float64)).Q.T.view(
        8, 1, 2, 10, 12
    )
    directions = directions * seen
    wrong = torch.einsum(
        "k,knchw->nchw", step * torch.randn(8, generator=rng, dtype=torch.float64), directions
    )
    assert 0.02 < float((wrong.abs() > step / 2).double().mean()) < 0.5
    found = eight_bits.snap(true + wrong, directions, seen, low, high)
    assert found is not None
    assert torch.allclose(found * seen, true * seen, atol=1e-12)
    far = true + 40 * wrong
    assert eight_bits.snap(far, directions[:1], seen, low, high) is None
