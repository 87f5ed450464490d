"""The rule that chooses between a layer's factors and its full gradient is the one that is written down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.gradients.cost_model import ELEMENTWISE, keep_factors

SIZES = st.integers(1, 4096)


@given(tokens=SIZES, fan_in=SIZES, fan_out=SIZES, rank=st.none() | SIZES)
def test_cheaper_form(tokens: int, fan_in: int, fan_out: int, rank: int | None) -> None:
    """Count the multiply-adds of both forms, as the module's docstring lists them."""
    matrix = tokens * fan_in * fan_out + ELEMENTWISE * fan_in * fan_out
    factors = tokens * tokens * (fan_in + fan_out)
    if rank is None:
        factors += tokens * fan_in * fan_out + ELEMENTWISE * fan_in * fan_out
    else:
        factors += tokens * rank * (fan_in + fan_out)
    assert keep_factors(tokens, rank, fan_in, fan_out) == (factors < matrix)


@pytest.mark.parametrize(
    ("tokens", "rank", "fan_in", "fan_out", "expected"),
    [
        pytest.param(1, 1, 3072, 512, True, id="first layer of the mlp, one image"),
        pytest.param(4, 4, 3072, 512, True, id="first layer of the mlp, four images"),
        pytest.param(65, 65, 256, 768, True, id="attention of the small vit, one image"),
        pytest.param(4 * 65, 4 * 65, 256, 256, False, id="projection of the small vit, four images"),
        pytest.param(32 * 32, 32 * 32, 27, 16, False, id="first convolution of an image of 32 x 32"),
        pytest.param(1, None, 3072, 512, False, id="one image, but a defended gradient"),
    ],
)
def test_choices(tokens: int, rank: int | None, fan_in: int, fan_out: int, expected: bool) -> None:
    assert keep_factors(tokens, rank, fan_in, fan_out) is expected
