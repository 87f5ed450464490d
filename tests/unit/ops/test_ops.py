"""Values and derivatives of the written-out operations, against torch's own and against finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from dia.ops import inner_product
from dia.ops.attention import attention
from dia.ops.gelu import gelu
from dia.ops.gram import norm_and_inner_product
from dia.ops.layer_norm import normalised
from dia.ops.total_variation import total_variation


def random(*shape: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_()


def test_gelu() -> None:
    x = random(3, 5)
    torch.testing.assert_close(gelu(x), F.gelu(x))
    assert gradcheck(gelu, x)
    assert gradgradcheck(gelu, x)


def test_layer_normalisation() -> None:
    x = random(2, 3, 6)
    torch.testing.assert_close(normalised(x, 1e-5), F.layer_norm(x, (6,), eps=1e-5))
    assert gradcheck(lambda x: normalised(x, 1e-5), x)
    assert gradgradcheck(lambda x: normalised(x, 1e-5), x)


@pytest.mark.parametrize("dropout", [False, True])
def test_attention(dropout: bool) -> None:
    q, k, v = random(2, 2, 1, 4), random(2, 2, 3, 4, seed=1), random(2, 2, 3, 4, seed=2)
    mask = (random(2, 2, 1, 3, seed=3).detach() > 0).double() if dropout else None

    def operation(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, mask, 0.5)

    probabilities = (0.5 * q @ k.transpose(2, 3)).softmax(-1)
    torch.testing.assert_close(
        operation(q, k, v), (probabilities if mask is None else probabilities * mask) @ v
    )
    assert gradcheck(operation, (q, k, v))
    assert gradgradcheck(operation, (q, k, v))


@pytest.mark.parametrize("positions", [1, 3])
def test_norm_and_inner_product_of_outer_products(positions: int) -> None:
    deltas, inputs = random(2, 1, positions, 4), random(2, 1, positions, 5, seed=1)
    e, b = random(2, 1, 2, 4, seed=2).detach(), random(2, 1, 2, 5, seed=3).detach()
    g, h = deltas.transpose(2, 3) @ inputs, e.transpose(2, 3) @ b
    square, inner = norm_and_inner_product(deltas, inputs, e, b)
    torch.testing.assert_close(square, g.square().flatten(1).sum(1))
    torch.testing.assert_close(inner, (g * h).flatten(1).sum(1))
    assert gradcheck(lambda d, a: norm_and_inner_product(d, a, e, b), (deltas, inputs))


def test_norm_and_inner_product_of_vectors() -> None:
    g, h = random(2, 5), random(2, 5, seed=1).detach()
    square, inner = inner_product.norm_and_inner_product(g, h)
    torch.testing.assert_close(square, g.square().sum(1))
    torch.testing.assert_close(inner, (g * h).sum(1))
    assert gradcheck(lambda g: inner_product.norm_and_inner_product(g, h), g)


def test_total_variation() -> None:
    x = random(2, 1, 3, 4, 5)
    right, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    expected = right.abs().flatten(1).mean(1) + down.abs().flatten(1).mean(1)
    torch.testing.assert_close(total_variation(x), expected)
    assert gradcheck(total_variation, x)
