"""Mask entries that cannot influence the gradient: stepped like all others, left out of the mask accuracy.

In the last block of a vision transformer only the class token goes on to the loss. The other tokens' entries
still have their share of the mask penalty, so the penalty alone moves them.
"""

import numpy as np
import pytest
import torch
from helpers.problems import problem, run

from dia.attacks.problem import Problem
from dia.datasets.victim_set import VictimSet
from dia.evaluation.experiment import Experiment, build_experiment
from dia.evaluation.mask_recovery import mask_accuracy, mask_accuracy_chance
from dia.jobs.attack_job import AttackJob
from dia.jobs.cell import Cell
from dia.settings.scenario import Settings

TOKENS, DIM, HEADS, HIDDEN = 7, 8, 2, 6
"""Of the small vit of made_problems: 2 x 3 patches and the class token."""
DEAD = (TOKENS - 1) * (HEADS * TOKENS + DIM + HIDDEN + DIM)
"""Entries of an image in the last block: attention rows, projection, hidden units, output of six tokens."""


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """The paper's vit on two small images."""
    victim_set = VictimSet(
        images=np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8),
        labels=np.arange(2),
        source_indices=np.arange(2),
        mean=np.array([0.5], np.float32),
        std=np.array([0.25], np.float32),
        dataset="made-up",
        source="file",
        source_detail="random pixels",
        num_classes=3,
    )
    job = AttackJob.from_config(
        Cell("default", "made-up", "vit", "0.5", "dia", 0), Settings(victims=2, precision="float64"), {}
    )
    return build_experiment(job, victim_set, torch.device("cpu"))


def test_they_are_found(experiment: Experiment) -> None:
    """All entries of the first sites count; of the last block's four, those of the class token."""
    counted = experiment.influential_entries
    assert len(counted) == 17
    tokens = 5
    for site in counted[:13]:
        assert bool(site.all())
    attention, projection, hidden, output = counted[13:]
    assert attention.shape == (2, 1, 16, tokens, tokens)
    assert bool(attention[..., :1, :].all())
    assert not bool(attention[..., 1:, :].any())
    for site in (projection, hidden, output):
        assert site.shape == (2, 1, tokens, 256)
        assert bool(site[:, :, :1].all())
        assert not bool(site[:, :, 1:].any())


def test_accuracy_leaves_them_out(experiment: Experiment) -> None:
    counted = experiment.influential_entries
    true = experiment.problem.client_masks
    wrong_where_dead = [mask ^ ~count for mask, count in zip(true, counted, strict=True)]
    assert mask_accuracy(wrong_where_dead, true, counted).tolist() == [1, 1]
    wrong_where_alive = [mask ^ count for mask, count in zip(true, counted, strict=True)]
    assert mask_accuracy(wrong_where_alive, true, counted).tolist() == [0, 0]
    shares = [
        sum(int((mask & count)[v].sum()) for mask, count in zip(true, counted, strict=True))
        / sum(int(count[v].sum()) for count in counted)
        for v in range(2)
    ]
    assert mask_accuracy_chance(true, counted).tolist() == pytest.approx([max(s, 1 - s) for s in shares])


def dead_entries(problem: Problem) -> list[torch.Tensor]:
    """Which entries of one image's masks are dead, per site."""
    dead = [torch.zeros(site.shape, dtype=torch.bool) for site in problem.model.sites]
    attention, *others = dead[-4:]
    attention[:, 1:] = True
    for site in others:
        site[1:] = True
    return dead


def test_they_are_stepped() -> None:
    """By the penalty alone: in one site all dead entries of a victim move alike until they are clipped."""
    of = problem("vit", 0.5, victims=2, max_iterations=1, mask_penalty_weight=0.1)
    dead = dead_entries(of)
    assert sum(int(site.sum()) for site in dead) == DEAD
    masks = run("dia", of).last_masks
    for site, start, end, gone in zip(of.model.sites, of.masks(), masks, dead, strict=True):
        for v in range(2):
            dropped = 1 - start[v].mean()
            step = (end - start)[v, 0][gone]
            if gone.any() and dropped != site.rate:
                # Up where too much is dropped; Adam's first step is the learning rate.
                direction = 0.1 if dropped > site.rate else -0.1
                blocked = start[v, 0][gone] == (1 if direction > 0 else 0)
                assert step[~blocked].tolist() == pytest.approx([direction] * int((~blocked).sum()), rel=1e-4)
                assert step[blocked].tolist() == [0] * int(blocked.sum())


def test_without_penalty_they_stay() -> None:
    of = problem("vit", 0.5, victims=2, max_iterations=5, mask_penalty_weight=0.0)
    for start, end, gone in zip(of.masks(), run("dia", of).last_masks, dead_entries(of), strict=True):
        assert torch.equal(start[:, 0][:, gone], end[:, 0][:, gone])
        assert gone.all() or not torch.equal(start, end)
