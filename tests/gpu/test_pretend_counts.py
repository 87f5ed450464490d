"""What one iteration does on a GPU: it never waits, and copies nothing."""

from typing import Any

import pytest
import torch
from gpu.pretend import CUDA, Counts, pretend_gpu, reset
from gpu.test_pretend_cells import LOCAL
from helpers.small_cells import LBFGS, make_job, run

from dia.attacks.optimisation import attack

MOST_LAUNCHES = {"mlp": 375, "lenet": 335, "vit": 1520, "resnet18": 1660}
"""Per iteration; what was reached, and must not be lost."""


def iterations(
    monkeypatch: pytest.MonkeyPatch, model: str, *, full_size: bool = False, **settings: Any
) -> list[Counts]:
    """The counts of every iteration of a ``dia`` cell."""
    counted: list[Counts] = []
    plain = attack.GradientMatchingAttack._iterate

    def iterate(self: Any, chunk: Any, state: Any, observe: Any) -> None:
        reset()
        plain(self, chunk, state, None)
        counted.append(reset())

    monkeypatch.setattr(attack.GradientMatchingAttack, "_iterate", iterate)
    with pretend_gpu():
        run(make_job("dia", model, loss_tolerance=0.0, **settings), "cuda:0", full_size=full_size)
    return counted


SCHEDULES = {"learning_rate_schedule": "cosine", "tv_initial_factor": 100.0, "tv_decay_iterations": 3}
FULL_MEMORY = {"max_iterations": 7}
"""Iterations of L-BFGS until its memory is full, and two more."""


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("mlp", {}),
        ("mlp", SCHEDULES),
        ("mlp", {"mask_parametrisation": "sigmoid", "attacker_dropout_rate": "unknown"}),
        ("mlp", LBFGS | FULL_MEMORY),
        ("mlp", LOCAL),
        ("mlp", LOCAL | LBFGS | FULL_MEMORY),
        ("lenet", {}),
        ("resnet18", {"victims": 1, "precision": "float32"}),
        ("vit", {}),
        ("vit", LBFGS | FULL_MEMORY),
        ("vit_b16", {}),
    ],
)
def test_an_iteration_neither_waits_nor_copies(
    model: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = iterations(monkeypatch, model, **settings)
    assert len(counted) >= 4
    for counts in counted:
        assert not counts.synchronisations and not counts.copies
    # So that a CUDA graph could capture one.
    assert counted[-1].operations == counted[-2].operations


@pytest.mark.parametrize("model", MOST_LAUNCHES)
def test_launches_of_an_iteration(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = iterations(monkeypatch, model, full_size=True, max_iterations=2, precision="float32")
    assert sum(counted[-1].launches.values()) <= MOST_LAUNCHES[model]


def test_a_planted_wait_and_a_planted_copy_are_counted() -> None:
    with pretend_gpu() as counts:
        values = torch.ones(3, device=CUDA)
        assert bool((values > 0).all())
        values[:, None][[0, 1]].cpu()
    assert counts.synchronisations and counts.copies
