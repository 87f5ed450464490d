"""What one iteration does on a GPU: it never waits, and copies nothing."""

from typing import Any

import pytest
import torch
from gpu.pretend import CUDA, Counts, pretend_gpu, reset
from gpu.test_pretend_cells import LBFGS, LOCAL, rows

from dia.attacks.optimisation import attack

MOST_LAUNCHES = {"mlp": 450}
"""Per iteration; what was reached, and must not be lost."""


def iterations(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[Counts]:
    """The counts of every iteration of a cell."""
    counted: list[Counts] = []
    plain = attack.GradientMatchingAttack._iterate

    def iterate(self: Any, chunk: Any, state: Any, observe: Any) -> None:
        reset()
        plain(self, chunk, state, None)
        counted.append(reset())

    monkeypatch.setattr(attack.GradientMatchingAttack, "_iterate", iterate)
    with pretend_gpu():
        rows("cuda:0", "dia", loss_tolerance=0.0, **settings)
    return counted


@pytest.mark.parametrize("settings", [{}, {**LBFGS, "lbfgs_history_size": 2, "max_iterations": 8}, LOCAL])
def test_an_iteration_neither_waits_nor_copies(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = iterations(monkeypatch, **settings)
    assert counted
    for counts in counted:
        assert not counts.synchronisations and not counts.copies
    # So that a CUDA graph could capture one.
    assert counted[-1].operations == counted[-2].operations


def test_launches_of_an_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(iterations(monkeypatch)[-1].launches.values()) <= MOST_LAUNCHES["mlp"]


def test_a_planted_wait_and_a_planted_copy_are_counted() -> None:
    with pretend_gpu() as counts:
        values = torch.ones(3, device=CUDA)
        assert bool((values > 0).all())
        values[:, None][[0, 1]].cpu()
    assert counts.synchronisations and counts.copies
