"""Columns of image windows are those of ``torch.nn.functional.unfold``, bit by bit, and so is their derivative."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from dia.ops.im2col import im2col

WINDOWS = list(
    itertools.product(
        [(1, 1), (3, 3), (2, 3), (5, 1)],  # kernel
        [(1, 1), (2, 1), (2, 3)],  # dilation
        [(0, 0), (1, 2), (4, 0)],  # padding
        [(1, 1), (2, 2), (3, 1), (1, 4)],  # stride
    )
)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_columns_and_derivative_equal_unfold(layout: torch.memory_format) -> None:
    rng = torch.Generator().manual_seed(0)
    for kernel, dilation, padding, stride in WINDOWS:
        x = torch.randn(3, 2, 9, 8, generator=rng).contiguous(memory_format=layout).requires_grad_()
        expected = F.unfold(x, kernel, dilation, padding, stride)
        found = im2col(x, kernel, dilation, padding, stride)
        assert torch.equal(found, expected), (kernel, dilation, padding, stride)
        weights = torch.randn(expected.shape, generator=rng)
        slopes = [torch.autograd.grad((columns * weights).sum(), x)[0] for columns in (found, expected)]
        assert torch.equal(*slopes), (kernel, dilation, padding, stride)


def test_columns_of_a_view_are_right() -> None:
    x = torch.arange(2 * 5 * 6 * 7.0).view(2, 5, 6, 7).expand(4, 2, 5, 6, 7).flatten(0, 1)[::3]
    assert torch.equal(im2col(x, (3, 2), (1, 2), (1, 0), (2, 1)), F.unfold(x, (3, 2), (1, 2), (1, 0), (2, 1)))
