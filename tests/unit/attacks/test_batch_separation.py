"""Separating a batch's gradient: exact on synthetic mixtures, silent where there is nothing to go by."""

import pytest
import torch
from torch import Tensor

from dia.attacks.mask_readout import batch_separation, hyperplanes


def mixture(
    images: int, p: float, *, units: int = 200, pixels: int = 60, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Deltas (units, N) with a share p of zeros and inputs (pixels, N)."""
    rng = torch.Generator().manual_seed(seed)
    keep = torch.rand(units, images, generator=rng) >= p
    deltas = torch.randn(units, images, generator=rng, dtype=torch.float64) * keep
    return deltas, 1 + torch.randn(pixels, images, generator=rng, dtype=torch.float64)


def as_sent(deltas: Tensor, inputs: Tensor) -> Tensor:
    """The gradient in float32, as a client computes it."""
    return (deltas.float() @ inputs.float().T).double()


def matched(found: Tensor, true: Tensor) -> list[int]:
    """Which column of ``found`` is which of ``true``, by direction."""
    cosines = torch.nn.functional.cosine_similarity(found.T[None], true.T[:, None], dim=2).abs()
    assert float(cosines.max(1).values.min()) > 1 - 1e-9
    order = cosines.argmax(1).tolist()
    assert sorted(order) == list(range(true.shape[1]))
    return order


@pytest.mark.parametrize(
    ("images", "p"), [(1, 0.0), (2, 0.1), (2, 0.9), (3, 0.5), (4, 0.25), (6, 0.5), (6, 0.9)]
)
def test_factors_of_a_mixture_are_found_with_all_their_zeros(images: int, p: float) -> None:
    deltas, inputs = mixture(images, p)
    found = batch_separation.by_rows(as_sent(deltas, inputs), images, p)
    order = matched(found.inputs, inputs)
    assert torch.equal(found.is_zero[:, order], deltas == 0)
    assert torch.equal(found.is_nonzero[:, order], deltas != 0)
    assert torch.allclose(found.deltas @ found.inputs.T, deltas @ inputs.T, atol=1e-5)


def test_the_same_picture_twice_is_one_image() -> None:
    deltas, inputs = mixture(3, 0.5)
    inputs[:, 2] = inputs[:, 1]
    found = batch_separation.by_rows(as_sent(deltas, inputs), 3, 0.5)
    order = matched(found.inputs, inputs[:, :2])
    assert torch.equal(found.is_zero[:, order[1]], (deltas[:, 1:] == 0).all(1))


@pytest.mark.parametrize("what", ["no dropout", "noise", "nothing", "nan"])
def test_without_zeros_nothing_is_claimed(what: str) -> None:
    gradient = as_sent(*mixture(3, 0.0 if what == "no dropout" else 0.5))
    if what == "noise":
        rng = torch.Generator().manual_seed(1)
        gradient = gradient + 1e-4 * torch.randn(gradient.shape, generator=rng, dtype=torch.float64)
    factor = {"nothing": 0.0, "nan": torch.nan}.get(what, 1.0)
    assert batch_separation.by_rows(factor * gradient, 3, 0.5) is None


def test_a_plane_held_up_by_one_row_is_none_of_an_image() -> None:
    """Many rows of one image and any other row are in a plane, too."""
    a, b, c = torch.eye(3, dtype=torch.float64)
    alone = [number * a for number in range(1, 6)]
    assert not hyperplanes._is_cyclic_flat(torch.stack([*alone, a + 2 * b + 3 * c]))
    assert hyperplanes._is_cyclic_flat(torch.stack([*alone, a + 2 * b, 3 * a - b]))


def layers(images: int, p: float) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Gradients of three layers of 150 units and 7 classes, the masks between them, and labels."""
    rng = torch.Generator().manual_seed(3)
    widths = [60, 150, 150, 7]
    masks = [torch.rand(width, images, generator=rng) >= p for width in widths[1:-1]]
    labels = torch.arange(images) % 2 + 3
    gradients = []
    for number in range(3):
        deltas = torch.randn(widths[number + 1], images, generator=rng, dtype=torch.float64)
        if number < 2:
            deltas = deltas * masks[number]
        else:
            logits = 0.2 * torch.randn(7, images, generator=rng, dtype=torch.float64)
            deltas = logits.softmax(0) - torch.nn.functional.one_hot(labels, 7).T
        inputs = 1 + torch.randn(widths[number], images, generator=rng, dtype=torch.float64)
        gradients.append(as_sent(deltas, inputs * masks[number - 1] if number else inputs))
    return gradients, masks, labels


@pytest.mark.parametrize(("images", "p"), [(2, 0.1), (3, 0.5), (4, 0.75)])
def test_a_chain_keeps_its_images_in_order_and_ends_in_their_labels(images: int, p: float) -> None:
    gradients, masks, labels = layers(images, p)
    found = batch_separation.separate_layers(gradients, images, [p, p])
    order = batch_separation.match_labels(found[-1], labels)
    previous = None
    for number, true in enumerate(masks):
        pair = found[number], found[number + 1]
        dropped, kept = batch_separation.dropped_units(*pair), batch_separation.kept_units(*pair)
        assert torch.equal(dropped, ~kept)
        # Images of one label may be in any order, but the same one in every layer.
        columns = [[kept[:, m].equal(true[:, n]) for m in order.tolist()].index(True) for n in range(images)]
        assert [int(labels[m]) for m in columns] == labels.tolist()
        assert previous in (None, columns)
        previous = columns


def test_a_layer_that_does_not_fit_ends_the_chain() -> None:
    gradients, _, _ = layers(3, 0.5)
    other, _, _ = layers(2, 0.5)
    assert len(batch_separation.separate_layers([gradients[0], other[1], gradients[2]], 3, [0.5, 0.5])) == 1
    shuffled = gradients[1][:, torch.randperm(150, generator=torch.Generator().manual_seed(0))]
    assert len(batch_separation.separate_layers([gradients[0], shuffled, gradients[2]], 3, [0.5, 0.5])) == 1


def test_other_labels_than_those_found_are_no_order() -> None:
    gradients, _, labels = layers(3, 0.5)
    last = batch_separation.separate_layers(gradients, 3, [0.5, 0.5])[-1]
    assert batch_separation.match_labels(last, labels) is not None
    assert batch_separation.match_labels(last, (labels + 1) % 7) is None
