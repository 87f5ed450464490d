"""A hypothesis strategy for small models that mix all kinds of layers."""

from collections.abc import Callable
from typing import Any

from helpers.layer_cases import CLASSES, SHAPE, Body, Case, Shape, parameter
from hypothesis import strategies as st
from torch import Tensor, nn

Layers = Callable[[], nn.Module]
"""Makes a layer; called when the model is built, so that weights are drawn under the model's seed."""

RATES = st.sampled_from([0.0, 0.1, 0.5, 0.75])
ACTIVATIONS = st.sampled_from([nn.Tanh, nn.GELU, nn.Sigmoid, nn.SiLU])


class Residual(nn.Module):
    """``x + f(x)``, in place where asked."""

    def __init__(self, inner: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.inner, self.in_place = inner, in_place

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        if self.in_place:
            out += x
            return out
        return out + x


class Twice(nn.Module):
    """The same layer, twice."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.inner(x).tanh())


def scale(*shape: int) -> Layers:
    """Multiplication by a parameter that no rule covers (or, with a leading 1, one that broadcasts)."""
    return lambda: Body(lambda m, x: x * (1 + m.scale), scale=parameter(*shape))


@st.composite
def conv_parts(draw: st.DrawFn, channels: int) -> Layers:
    """A layer (images, channels, 6, 6) -> the same shape."""
    kind = draw(
        st.sampled_from(["conv", "norm", "activation", "dropout", "channels", "scale", "twice", "batch"])
    )
    if kind in ("conv", "twice"):
        side, dilation = draw(st.sampled_from([(1, 1), (3, 1), (3, 2), (5, 1)]))
        how: dict[str, Any] = dict(
            kernel_size=side,
            dilation=dilation,
            padding=draw(st.sampled_from(["same", dilation * (side - 1) // 2])),
            groups=draw(st.sampled_from([1, 2, channels])),
            bias=draw(st.booleans()),
            padding_mode=draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"])),
        )
        twice = kind == "twice"
        return lambda: (
            Twice(nn.Conv2d(channels, channels, **how)) if twice else nn.Conv2d(channels, channels, **how)
        )
    if kind == "norm":
        groups, affine = draw(st.sampled_from([1, 2, channels])), draw(st.booleans())
        return lambda: nn.GroupNorm(groups, channels, affine=affine)
    if kind == "batch":
        return lambda: nn.BatchNorm2d(channels)
    if kind == "scale":
        return scale(channels, 1, 1)
    if kind == "activation":
        return draw(ACTIVATIONS)
    rate = draw(RATES)
    return (lambda: nn.Dropout2d(rate)) if kind == "channels" else (lambda: nn.Dropout(rate))


@st.composite
def token_parts(draw: st.DrawFn, width: int) -> Layers:
    """A layer (images, 6, width) -> the same shape."""
    kind = draw(st.sampled_from(["linear", "norm", "activation", "dropout", "positions", "scale", "twice"]))
    if kind in ("linear", "twice"):
        bias = draw(st.booleans())
        twice = kind == "twice"
        return lambda: (
            Twice(nn.Linear(width, width, bias=bias)) if twice else nn.Linear(width, width, bias=bias)
        )
    if kind == "norm":
        over = draw(st.sampled_from([(width,), (6, width)]))
        affine, bias = draw(st.booleans()), draw(st.booleans())
        return lambda: nn.LayerNorm(over, elementwise_affine=affine, bias=bias)
    if kind == "positions":
        leading = draw(st.sampled_from([(1,), ()]))
        return lambda: Body(lambda m, x: x + m.position, position=parameter(*leading, 6, width))
    if kind == "scale":
        return scale(width)
    if kind == "activation":
        return draw(ACTIVATIONS)
    rate = draw(RATES)
    return lambda: nn.Dropout(rate)


def stack(parts: list[Layers], residual: bool) -> nn.Module:
    """The parts one after the other, perhaps with a skip connection."""
    layers = nn.Sequential(*(part() for part in parts))
    if not (residual and parts):
        return layers
    # Plain torch refuses to overwrite what an activation or a product keeps for its backward pass.
    return Residual(
        layers, in_place=isinstance(layers[-1], nn.Linear | nn.Conv2d | nn.LayerNorm | nn.GroupNorm)
    )


@st.composite
def random_models(draw: st.DrawFn) -> Case:
    """Convolutions, then rows of pixels as tokens, then a head; in each stage up to four random layers.

    Tokens have at least four entries: a LayerNorm over two returns little but signs, and its gradients are
    then differences of nearly equal numbers, of which no algorithm keeps ten digits.
    """
    channels, width = draw(st.sampled_from([2, 4])), draw(st.sampled_from([4, 5]))
    stride = draw(st.sampled_from([1, 2]))
    first = draw(st.lists(conv_parts(channels), max_size=4))
    second = draw(st.lists(token_parts(width), max_size=4))
    skips = draw(st.booleans()), draw(st.booleans())

    def build() -> tuple[nn.Module, Shape]:
        def run(m: Any, x: Tensor) -> Tensor:
            x = m.first(m.stem(x).tanh())
            x = m.second(m.embed(x.transpose(1, 2).flatten(2)).tanh())
            return m.head(x.tanh().mean(1))

        model = Body(
            run,
            stem=nn.Conv2d(SHAPE[0], channels, 3, stride=(1, stride), padding=1),
            first=stack(first, skips[0]),
            embed=nn.LazyLinear(width),
            second=stack(second, skips[1]),
            head=nn.Linear(width, CLASSES),
        )
        return model, SHAPE

    return build
