"""Nothing wrong is claimed: near-misses of every kind that a certificate has to see through."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.structured_problems import SHAPE, build_problem, noisy, sending, sequential, vit
from torch import Tensor, nn

from dia.attacks.analytic.attack import build as build_attack
from dia.attacks.analytic.chain_certificate import Certified, certify
from dia.attacks.analytic.input_layers import pixel_layers
from dia.attacks.analytic.linear_chain import LinearChain
from dia.attacks.analytic.replay import is_overdetermined
from dia.attacks.mask_readout.hyperplanes import find_hyperplanes
from dia.attacks.outcome import Outcome
from dia.attacks.problem import Problem

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
DATA = Path(os.environ.get("DIA_SHARED", Path(__file__).parents[4] / "shared")) / "data"
LEVELS = 255


def odd_batch(
    *labels: int, grid: bool = False, bright: tuple[int, ...] = (), known: str = "known"
) -> tuple[Problem, Tensor]:
    """Images of an odd network of two classes; their negatives are in the pixel box unless they are bright.

    On the grid pixels are multiples of 1/255, and their negatives are not.
    """
    build = sequential(0.5, nn.Tanh, bias=False, width=200, classes=2)
    problem, _ = build_problem(build, images=len(labels), victims=1, classes=2, attacker_labels=known)
    size = (problem.high - problem.low) / LEVELS
    low = problem.low + 0.3 * size  # twice the mean is no multiple of 1/255
    problem = replace(problem, low=low, high=low + LEVELS * size)
    steps = 60 + 75 * torch.rand(1, len(labels), *SHAPE, generator=torch.Generator().manual_seed(1))
    x = low + (steps.round() if grid else steps) * size
    for image in bright:
        x[:, image, 0, 0, 0] = problem.high[0]
    return sending(problem, x, torch.tensor([labels])), x


def correct(outcome: Outcome, x: Tensor) -> Tensor:
    """(N,) which images of the only victim are private ones, by place in the outcome."""
    distance = torch.cdist(outcome.x[0].flatten(1).double(), x[0].flatten(1).double())
    return distance.min(1).values < 1e-3 * x[0].flatten(1).norm(dim=1).double()


def test_an_odd_network_of_two_classes_does_not_tell_signs() -> None:
    problem, x = odd_batch(0, 1, 0)
    mirrored = sending(problem, torch.cat([-x[:, :2], x[:, 2:]], 1), torch.tensor([[1, 0, 0]]))
    for name, piece in problem.received.pieces.items():
        assert torch.allclose(piece.dense(), mirrored.received.pieces[name].dense(), atol=1e-7)


def certified(problem: Problem, x: Tensor) -> Certified | None:
    """What is certain of images (N, C, H, W) with the true masks and labels."""
    chain, layer = LinearChain.of(problem.model), pixel_layers(problem.model)[0]
    gradients = {name: problem.gradient(0, name).double() for name in problem.received.pieces}
    return certify(problem, layer, chain, gradients, 0, x, [mask[0].bool() for mask in problem.client_masks])


@pytest.mark.parametrize(
    ("labels", "how", "unique"),
    [
        ((0, 1, 0), {}, (False, False, False)),  # any 0 can be flipped together with the 1
        ((0, 1, 0), {"bright": (1,)}, (True, True, True)),  # the only 1 cannot, and so no 0
        ((0, 1, 0), {"bright": (0,)}, (True, False, False)),
        ((1, 1, 1), {}, (True, True, True)),  # flipped ones would have other labels
        ((1, 1, 1), {"known": "inferred"}, (False, False, False)),
        ((1, 1, 1), {"known": "inferred", "bright": (0, 2)}, (True, False, True)),
        ((0, 1, 0), {"grid": True}, (True, True, True)),
        ((1, 1, 1), {"grid": True, "known": "inferred"}, (True, True, True)),
        ((1,), {}, (True,)),
        ((1,), {"known": "inferred"}, (False,)),
    ],
)
def test_images_are_certain_whose_sign_something_tells(
    labels: tuple[int, ...], how: dict[str, Any], unique: tuple[bool, ...]
) -> None:
    problem, x = odd_batch(*labels, **how)
    found = certified(problem, x[0])
    assert found is not None
    assert tuple(found.unique.tolist()) == unique
    outcome = build_attack(problem).run()
    assert outcome.claimed is not None
    assert bool(correct(outcome, x)[outcome.claimed[0]].all())
    assert int(outcome.claimed.sum()) <= sum(unique)
    if "grid" in how or len(labels) == 1 or not any(unique):
        assert int(outcome.claimed.sum()) == sum(unique)
        assert outcome.stop_reason[0] in (("solved",) if all(unique) else ("mirrored", "unconfirmed"))


def test_an_image_that_hardly_contributes_is_not_claimed_and_the_others_are() -> None:
    problem, x = build_problem(sequential(0.25, nn.GELU, True, width=64), images=3, victims=1)
    with torch.no_grad():
        last = [m for m in problem.model.model.modules() if isinstance(m, nn.Linear)][-1]
        last.bias[0] += 9  # sure of label 0
    problem = sending(problem, x, torch.tensor([[0, 1, 2]]))
    for image, replays in ((None, [True] * 3), (0, [False, True, True]), (1, None)):
        planted = x[0].clone()
        if image is not None:
            planted[image] = planted[image].flip(-1)
        found = certified(problem, planted)
        assert (None if found is None else found.replays.tolist()) == replays


def test_more_unknowns_than_equations_are_no_certificate() -> None:
    """Of logistic regression with as many images as classes, other images replay as well."""
    problem, x = build_problem(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), images=4, victims=1, classes=4
    )
    assert certified(problem, x[0]) is None
    assert not is_overdetermined(10, 8, tries=1)
    assert is_overdetermined(40, 8, tries=10**6)


@pytest.mark.parametrize("bias", [True, False])
def test_an_image_behind_dropout_is_not_the_image(bias: bool) -> None:
    """The first layer sees the image with dropped pixels; its equations are satisfied by that one."""
    layers = [nn.Linear(192, 40, bias), nn.GELU(), nn.Linear(40, 5, bias)]
    problem, _ = build_problem(lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.3), *layers))
    outcome = build_attack(problem).run()
    assert outcome.claimed is not None
    assert not bool(outcome.claimed.any())


@pytest.mark.parametrize(("dim", "reason"), [(6, "unconfirmed"), (16, "solved")])
def test_a_system_without_surplus_equations_claims_nothing(dim: int, reason: str) -> None:
    """With as many tokens (6) as dimensions any gradient is satisfied by some patches."""
    problem, _ = build_problem(vit(0.1, dim=dim, heads=2))
    outcome = build_attack(problem).run()
    assert outcome.stop_reason == [reason] * 3
    altered = build_attack(noisy(problem, 0.05)).run()
    assert altered.claimed is not None
    assert not bool(altered.claimed.any())


@pytest.mark.parametrize("dimensions", [2, 3, 5, 7])
@pytest.mark.parametrize("units", [64, 512])
def test_hyperplanes_hold_more_rows_than_chance_puts_there(units: int, dimensions: int) -> None:
    rng = torch.Generator().manual_seed(units + dimensions)
    rows = torch.randn(units, dimensions, generator=rng, dtype=torch.float64)
    assert find_hyperplanes(nn.functional.normalize(rows, dim=1), 0.5) is None
    rows[torch.rand(units, dimensions, generator=rng) < 0.4] = 0
    rows = nn.functional.normalize(rows[(rows != 0).any(1)], dim=1)
    found = find_hyperplanes(rows, 0.4)
    assert found is not None
    assert torch.allclose(found.abs().max(0).values, torch.ones(dimensions, dtype=torch.float64))
    near = nn.functional.normalize(rows + 1e-4 * torch.randn(rows.shape, generator=rng), dim=1)
    assert find_hyperplanes(near, 0.4) is None


@pytest.mark.skipif(not DATA.exists(), reason="needs the images of the shared folder (DIA_SHARED)")
@pytest.mark.parametrize("number", [4, 90, 132, 142, 182, 219, 227, 242])
def test_networks_of_which_false_images_were_claimed(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit 715e0c4 claimed 82 false images of these networks of ``benchmarks/claims.py``."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import claims

    result = claims.measure(claims.Network.draw(number), 4, DATA, 1e-6)
    assert result["counts"][claims.FALSE] == 0
    assert result["counts"][claims.UNSCALED] == 0
