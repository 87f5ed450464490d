"""The row space of a convolution's gradient, against planted inputs and deltas."""

import pytest
import torch
from torch import Tensor, nn

from dia.attacks.analytic.row_space import may_determine, solutions

SHAPE = (6, 4, 5)


def planted(
    conv: nn.Conv2d, images: int = 1, shape: tuple[int, int, int] = SHAPE, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Inputs with a ReLU's zeros (N, C, H, W), and the weight gradient for random deltas at the outputs."""
    rng = torch.Generator().manual_seed(seed)
    a = torch.randn(images, *shape, generator=rng, dtype=torch.float64).relu()
    conv = conv.double()
    z = conv(a)
    deltas = torch.randn(z.shape, generator=rng, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((z * deltas).sum(), conv.weight)
    return a, gradient


def share_outside(a: Tensor, directions: Tensor) -> Tensor:
    """(N,) how much of each input the directions do not hold, relatively."""
    basis, vectors = directions.flatten(1), a.flatten(1)
    return (vectors - vectors @ basis.T @ basis).norm(dim=1) / vectors.norm(dim=1)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 24, 3, padding=1, bias=False),
        nn.Conv2d(6, 40, (3, 2), padding=(1, 0)),
    ],
    ids=["padded", "oblong"],
)
def test_the_input_is_the_only_solution_where_the_stride_is_one(conv: nn.Conv2d) -> None:
    a, gradient = planted(conv)
    found = solutions(conv, gradient, SHAPE)
    assert may_determine(conv, SHAPE)
    assert found.rank == found.positions
    assert found.dimension == 1
    assert float(share_outside(a, found.directions[:1])) < 1e-6


@pytest.mark.parametrize("images", [2, 3])
def test_a_batch_spans_as_many_dimensions_as_it_has_images(images: int) -> None:
    conv = nn.Conv2d(12, 64, 3, padding=1)
    a, gradient = planted(conv, images, (12, 4, 5))
    found = solutions(conv, gradient, (12, 4, 5), images)
    assert (found.rank, found.dimension) == (20 * images, images)
    assert float(share_outside(a, found.directions[:images]).max()) < 1e-6


def test_float32_noise_blurs_the_input_a_little() -> None:
    conv = nn.Conv2d(6, 24, 3, padding=1)
    a, gradient = planted(conv)
    found = solutions(conv, gradient.float(), SHAPE)
    assert (found.rank, found.dimension) == (20, 1)
    assert 1e-9 < float(share_outside(a, found.directions[:1])) < 1e-3


def test_strides_leave_more_solutions_and_the_input_among_them() -> None:
    conv = nn.Conv2d(6, 24, 3, stride=2, padding=1)
    a, gradient = planted(conv)
    found = solutions(conv, gradient, SHAPE)
    assert found.dimension > 1
    assert found.dimension < len(found.directions) + 1
    whole = solutions(conv, gradient, SHAPE, images=20)
    assert float(share_outside(a, whole.directions[: whole.dimension])) < 1e-6


def test_more_positions_than_channels_determine_nothing() -> None:
    conv = nn.Conv2d(6, 12, 3, padding=1)
    _, gradient = planted(conv)
    assert not may_determine(conv, SHAPE)
    found = solutions(conv, gradient, SHAPE)
    assert (found.rank, found.positions, found.dimension) == (12, 20, 0)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 64, 2, stride=2),
        nn.Conv2d(6, 64, 3, padding=1, groups=2),
        nn.Conv2d(6, 64, 1),
        nn.Conv2d(6, 64, 3, padding=2, dilation=2),
    ],
    ids=["no overlap", "groups", "one pixel", "lattices that never meet"],
)
def test_sizes_that_cannot_work_are_known_beforehand(conv: nn.Conv2d) -> None:
    assert not may_determine(conv, SHAPE)
