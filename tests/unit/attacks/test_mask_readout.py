"""Masks read off gradients: right where claimed, silent elsewhere."""

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.structured_problems import CLASSES, SHAPE, build_problem, mlp, noisy, sequential, vit, without
from torch import Tensor, nn

from dia.attacks import dia, dia_readout
from dia.attacks.mask_readout.readout import Readout, _combine_columns
from dia.attacks.mask_readout.zero_patterns import match_patterns, pack_patterns
from dia.attacks.optimisation.initialisation import FixedInitialisation
from dia.attacks.optimisation.mask_variables import mask_variables
from dia.attacks.optimisation.state import SearchState
from dia.attacks.problem import Problem
from dia.defences.prune import prune
from dia.evaluation.mask_recovery import align_masks
from dia.federated.update import ClientUpdate
from dia.gradients.factored import DenseGradient


def read(problem: Problem) -> list[Tensor]:
    return Readout.of(problem.model).read(problem)


def conv() -> nn.Module:
    """Dropout behind a ReLU, before the only linear layer."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(90, CLASSES)
    )


@pytest.mark.parametrize("build", [mlp(), sequential(0.25, nn.GELU), sequential(0.75, nn.Tanh, bias=False)])
def test_one_image_of_a_linear_network_tells_every_mask(build: Callable[[], nn.Module]) -> None:
    problem, _ = build_problem(build)
    for found, true in zip(read(problem), problem.client_masks, strict=True):
        assert torch.equal(found, true)


def test_a_transformer_tells_the_masks_at_its_ends() -> None:
    problem, _ = build_problem(vit())
    found = read(problem)
    assert torch.equal(found[0], problem.client_masks[0])  # behind the positions: every entry
    assert all(bool(mask.isnan().all()) for mask in found[1:6])  # the first block and attention: none
    for last, true in zip(found[6:], problem.client_masks[6:], strict=True):  # the last block's class token
        assert torch.equal(last[:, :, 0], true[:, :, 0])
        assert bool(last[:, :, 1:].isnan().all())


def test_slices_are_matched_with_the_entries_of_the_same_pattern() -> None:
    """The example of the module's docstring, under 64 masks of which the last 60 keep and show everything."""
    entries = np.array([[1, 0, 1, 1], [0, 1, 1, 0]], bool).T
    rows = np.array([[0, 1, 1, 0], [1, 1, 1, 1], [1, 0, 1, 1]], bool).T
    patterns = [
        pack_patterns(np.pad(bits, ((0, 60), (0, 0)), constant_values=True)) for bits in (rows, entries)
    ]
    assert [int(pattern) & 0b1111 for pattern in patterns[1]] == [0b1101, 0b0110]
    assert match_patterns(*patterns).tolist() == [[0, 1], [2, 0]]


def test_a_channel_was_kept_if_any_of_its_columns_was_and_dropped_if_all_were() -> None:
    dropped = torch.tensor([[True, True, True, False, False, False]])
    kept = torch.tensor([[False, False, False, True, False, False]])
    values = _combine_columns(dropped, kept, torch.tensor([0, 0, 1, 1, 3, 3]), 5)
    assert torch.equal(values.nan_to_num(2.0), torch.tensor([[0.0, 1.0, 2.0, 2.0, 2.0]]))


def test_a_silent_unit_counts_as_dropped_and_an_active_one_is_told() -> None:
    problem, x = build_problem(conv)
    (found,), (true,) = read(problem), problem.client_masks
    active = problem.model.model[1](problem.model.model[0](x.flatten(0, 1))).flatten(1).view_as(found) > 0
    told = ~found.isnan()
    assert float(told.double().mean()) > 0.9  # a unit that no probing image wakes up stays unknown
    assert torch.equal(found[told & active], true[told & active])
    assert float(found[told & ~active].max()) == 0


@pytest.mark.parametrize("images", [2, 3])
def test_a_batch_of_a_linear_network_tells_the_masks_of_every_image(images: int) -> None:
    problem, _ = build_problem(sequential(0.5, nn.GELU, width=200), images=images)
    found = align_masks(read(problem), problem.client_masks, problem.labels)
    for known, true in zip(found, problem.client_masks, strict=True):
        assert torch.equal(known, true)


@pytest.mark.parametrize("images", [2, 3])
def test_a_batch_behind_convolutions_tells_the_masks_of_every_image(images: int) -> None:
    problem, x = build_problem(conv, images=images)
    (true,) = problem.client_masks
    (found,) = align_masks(read(problem), [true], problem.labels)
    active = problem.model.model[1](problem.model.model[0](x.flatten(0, 1))).flatten(1).view_as(found) > 0
    told = ~found.isnan()
    assert float(told.double().mean()) > 0.9
    assert torch.equal(found[told & active], true[told & active])
    assert float(found[told & ~active].max()) == 0


def test_a_convolution_with_one_position_is_a_link_of_the_chain() -> None:
    """As the last one of lenet on 28 x 28 pixels: its rows tell what its units' columns behind it tell."""
    problem, _ = build_problem(
        lambda: nn.Sequential(
            nn.Conv2d(2, 80, SHAPE[1:]), nn.GELU(), nn.Flatten(), nn.Dropout(), nn.Linear(80, CLASSES)
        ),
        images=2,
    )
    assert len(Readout.of(problem.model).layer_names) == 2
    (found,) = align_masks(read(problem), problem.client_masks, problem.labels)
    assert torch.equal(found > 0, problem.client_masks[0])


def test_a_batch_of_a_transformer_tells_what_all_its_images_dropped() -> None:
    problem, _ = build_problem(vit(), images=2)
    found, true = read(problem)[0], problem.client_masks[0]
    everywhere = (true == 0).all(1, keepdim=True).expand_as(true)
    assert bool((found[everywhere] == 0).all())
    assert bool(found[~everywhere].isnan().all())


def test_labels_that_are_not_those_of_the_batch_tell_no_image_from_another() -> None:
    problem, _ = build_problem(sequential(0.5, nn.GELU, width=200), images=2)
    other = replace(problem, labels=(problem.labels + 1) % CLASSES)
    for found in read(other):
        assert not bool((found == 1).any())


def test_noise_and_pruning_tell_nothing() -> None:
    problem, _ = build_problem(sequential(0.5, nn.GELU, width=300))
    dense = {name: piece.dense() for name, piece in problem.received.pieces.items()}
    pruned = {name: DenseGradient(value) for name, value in prune(dense, 0.01).items()}
    for altered in (noisy(problem, 1e-4).received, ClientUpdate.of(pruned)):
        assert all(bool(mask.isnan().all()) for mask in read(replace(problem, received=altered)))


def test_noise_behind_a_relu_tells_nothing() -> None:
    """Its zeros are not certain, but there would have to be some."""
    (found,) = read(noisy(build_problem(conv)[0], 1e-4))
    assert bool(found.isnan().all())


def test_what_was_not_sent_tells_nothing() -> None:
    problem, _ = build_problem(vit())
    assert bool(read(without(problem, "pos_embedding"))[0].isnan().any())


@pytest.mark.parametrize("kind", ["clipped", "sigmoid"])
def test_masks_read_off_stay_and_the_others_are_sought(kind: str) -> None:
    problem, _ = build_problem(vit(), victims=2, max_iterations=3, mask_parametrisation=kind)
    states: list[SearchState] = []
    attack = dia_readout.build(problem, victims_per_chunk=2)
    outcome = attack.run(on_iteration=lambda progress: states.append(progress.active[0]))
    for site, (found, true) in enumerate(zip(read(problem), problem.client_masks, strict=True)):
        known = ~found.isnan()
        assert torch.equal(outcome.masks[site][known], true[known])
        moved = states[-1].masks[site] != mask_variables(problem.settings).from_masks(problem.masks()[site])
        assert bool(known.all()) or bool(moved[~known].any())


def test_with_all_masks_read_off_the_true_image_fits_at_once() -> None:
    """The search is then that of the well-informed attack: its first loss at the private image is nothing."""
    problem, x = build_problem(mlp(), max_iterations=1, tv_weight=0.0, mask_penalty_weight=0.0)
    starts = FixedInitialisation(x, problem.masks(), problem.victim_ids)
    outcome = dia_readout.build(replace(problem, initialisation=starts)).run()
    assert float(outcome.matching_distance.max()) < 1e-6


def test_without_anything_to_read_it_is_dia() -> None:
    problem, _ = build_problem(mlp(), images=2, max_iterations=5)
    altered = noisy(problem, 0.01)
    found, plain = dia_readout.build(altered).run(), dia.build(altered).run()
    assert torch.equal(found.x, plain.x)
    assert torch.equal(found.total_loss, plain.total_loss)


def test_masks_of_single_images_are_in_order_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import takes half a second, of every job."""
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)  # importing it now fails
    masks = [torch.tensor([[[True, False]], [[False, False]]])]
    (found,) = align_masks(masks, masks, torch.zeros(2, 1, dtype=torch.int64))
    assert torch.equal(found, masks[0])
