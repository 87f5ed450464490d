"""The folded engine against the oracle: client gradients, loss, and its gradients by image and masks.

Everything in float64. The error of a tensor is ``|got - expected| / |expected|`` (Euclidean norms over one
victim's tensor); where the expected tensor is nearly zero, its norm is replaced by a thousandth of the
largest one among the victim's tensors of the same kind (parameter gradients, or gradients by image and
masks), so that rounding is not divided by nothing. The loss is compared likewise, by a plain relative
error.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from helpers.layer_cases import CLASSES, FOLDED, GENERIC, PIXELS, SHAPE, Body, Case, made
from helpers.oracle import Client, cosine_distance, norm
from helpers.random_models import random_models
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dia.attacks.optimisation.objective import matching_distance
from dia.federated.client import compute_update
from dia.federated.update import ClientUpdate
from dia.gradients.batched import BatchedGradientEngine
from dia.gradients.factored import DenseGradient, ParameterGradient
from dia.models.dropout import replace_dropout

TOLERANCE = 1e-10
BATCHES = [(1, 1), (3, 1), (1, 2), (3, 2), (1, 4), (3, 4)]
"""(victims V, images N of a victim)."""


def worst_error(got: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> float:
    """The largest error over the tensors of one victim; None counts as zeros."""
    floor = 1e-3 * max(float(t.norm()) for t in expected if t is not None)
    errors = []
    for g, e in zip(got, expected, strict=True):
        if g is None and e is None:
            continue
        e = torch.zeros_like(g) if e is None else e
        g = torch.zeros_like(e) if g is None else g
        assert g.shape == e.shape
        errors.append(float((g - e).norm()) / max(float(e.norm()), floor))
    return max(errors)


Slopes = list[Tensor | None]


def by_hand(
    client: Client, private: Sequence[Tensor], guess: Sequence[Tensor], labels: Tensor
) -> tuple[Slopes, Tensor, Slopes]:
    """The oracle on one victim: client gradient, matching distance, and its gradients by image and masks.

    ``private`` and ``guess`` are an image, then masks (or none: dropout off).
    """
    target = client.gradient(private[0], private[1:], labels)
    leaves = [tensor.detach().requires_grad_() for tensor in guess]
    gradient = client.gradient(leaves[0], leaves[1:] or None, labels, create_graph=True)
    distance = cosine_distance(gradient, target, norm(target))
    return target, distance.detach(), list(torch.autograd.grad(distance, leaves, allow_unused=True))


def jitter_error(client: Client, private: Sequence[Tensor], guess: Sequence[Tensor], labels: Tensor) -> float:
    """How much the oracle's own answers change when every input changes by some 1e-14 of itself."""
    rng = torch.Generator().manual_seed(0)

    def jittered(tensors: Sequence[Tensor]) -> list[Tensor]:
        return [t * (1 + 1e-14 * torch.randn(t.shape, generator=rng, dtype=t.dtype)) for t in tensors]

    target, distance, slopes = by_hand(client, private, guess, labels)
    other_target, other_distance, other_slopes = by_hand(client, jittered(private), jittered(guess), labels)
    change = ((other_distance - distance) / distance).abs().item()
    return max(change, worst_error(other_target, target), worst_error(other_slopes, slopes))


def compare(
    model: nn.Module,
    shape: tuple[int, int, int],
    victims: int,
    images: int,
    *,
    seed: int = 0,
    dense: bool = False,
    assume: Callable[[bool], object] = lambda well_conditioned: None,
) -> BatchedGradientEngine:
    """Hold a model's engine against the oracle on random victims; returns the engine.

    With ``dense`` the received gradients are held as full matrices, as after a defence. ``assume`` is told of
    every comparison whether ten digits can be asked for at all (see :func:`jitter_error`).
    """
    rng = torch.Generator().manual_seed(seed)

    def random(*size: int) -> Tensor:
        return torch.rand(size, generator=rng, dtype=torch.float64)

    plain = Client(model, torch.zeros(1, *shape, dtype=torch.float64))
    engine = BatchedGradientEngine(replace_dropout(model), shape, CLASSES, images)
    assert [site.rate for site in engine.sites] == plain.rates

    labels = torch.randint(CLASSES, (victims, images), generator=rng)
    kept = [(random(victims, images, *site.shape) < 1 - site.rate).double() for site in engine.sites]
    private = [2 * random(victims, images, *shape) - 1, *kept]
    # Optimised masks lie anywhere in [0, 1].
    x = 2 * random(victims, images, *shape) - 1
    masks = [random(victims, images, *site.shape) for site in engine.sites]

    received = ClientUpdate.of(compute_update(engine, private[0], kept, labels))
    if dense:
        full: dict[str, ParameterGradient] = {
            name: DenseGradient(piece.dense()) for name, piece in received.pieces.items()
        }
        received = ClientUpdate(full, received.norm)
    for used in [masks, []] if masks else [[]]:
        guess = [tensor.requires_grad_() for tensor in [x, *used]]
        distance = matching_distance(engine, received, x, used or None, labels)
        slopes = torch.autograd.grad(distance.sum(), guess, allow_unused=True)
        for v in range(victims):
            theirs = [t[v] for t in private], [t[v].detach() for t in guess], labels[v]
            assume(jitter_error(plain, *theirs) < TOLERANCE)
            target, expected, expected_slopes = by_hand(plain, *theirs)
            sent = [received.pieces.get(name) for name in plain.parameters]
            assert worst_error([piece and piece.dense()[v] for piece in sent], target) < TOLERANCE
            assert received.norm[v].item() == pytest.approx(norm(target).item(), rel=TOLERANCE)
            assert distance[v].item() == pytest.approx(expected.item(), rel=TOLERANCE)
            assert worst_error([s if s is None else s[v] for s in slopes], expected_slopes) < TOLERANCE
    return engine


batches = pytest.mark.parametrize(("victims", "images"), BATCHES)


@batches
@pytest.mark.parametrize("name", FOLDED)
def test_folded_rules(name: str, victims: int, images: int) -> None:
    engine = compare(*made(FOLDED[name]), victims, images)
    assert engine.per_victim_parameters == []


@batches
@pytest.mark.parametrize("name", GENERIC)
def test_per_victim_path(name: str, victims: int, images: int) -> None:
    case, announced = GENERIC[name]
    engine = compare(*made(case), victims, images)
    assert set(engine.per_victim_parameters) == announced


def test_the_slightest_mixing_of_images_is_found() -> None:
    """In float32 too, where a comparison of gradients would take it for rounding."""

    def run(m: Body, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return m.fc(x + 1e-5 * x.mean(0))  # type: ignore[operator]

    engine = BatchedGradientEngine(Body(run, fc=nn.Linear(PIXELS, CLASSES)), SHAPE, CLASSES, 1)
    assert engine.per_victim_parameters == ["fc.weight", "fc.bias"]


@batches
@pytest.mark.parametrize("dense", [False, True], ids=["factored", "dense"])
@pytest.mark.parametrize("keep", [True, False], ids=["keep factors", "form the matrix"])
@pytest.mark.parametrize(
    "name", ["linear on tokens", "conv grouped", "conv strided and padded", "conv called twice"]
)
def test_every_form_is_the_same(
    monkeypatch: pytest.MonkeyPatch, name: str, keep: bool, dense: bool, victims: int, images: int
) -> None:
    """Whatever the cost rule says, and however the received gradient is held."""
    asked = []

    def rule(*sizes: object) -> bool:
        asked.append(sizes)
        return keep

    monkeypatch.setattr("dia.gradients.factored.keep_factors", rule)
    compare(*made(FOLDED[name]), victims, images, dense=dense)
    assert asked


@given(random_models(), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 4]), st.integers(0, 2**16))
@settings(max_examples=60, derandomize=True)
def test_random_models(case: Case, victims: int, images: int, seed: int) -> None:
    compare(*made(case, seed), victims, images, seed=seed, assume=assume)
