"""Small models, one for each way in which a parameter can be used, as ``ZOO[name]() -> (model, shape)``.

Each returns ``CLASSES`` logits an image. Dropout is torch's own: the tests make it replayable.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dia.models.mlp import MLP
from dia.models.vit import ViT

CLASSES = 3
SHAPE = (2, 6, 6)
"""(C, H, W) of most models' images."""
PIXELS = 72

Shape = tuple[int, int, int]
Case = Callable[[], tuple[nn.Module, Shape]]


class Body(nn.Module):
    """Parts by name and a forward written as a function of them: ``Body(lambda m, x: m.fc(x), fc=...)``."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.5 * torch.randn(*shape))


def tokens(x: Tensor) -> Tensor:
    """(images, C, H, W) -> (images, H, C * W): a row of pixels is a token."""
    return x.transpose(1, 2).flatten(2)


def on_vectors(*layers: nn.Module, width: int = 5) -> Case:
    """The layers between two Linear layers, on (images, width)."""
    return lambda: (
        nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, width), *layers, nn.Tanh(), nn.Linear(width, CLASSES)),
        SHAPE,
    )


def on_tokens(*layers: nn.Module, width: int = 5) -> Case:
    """The layers on (images, 6 tokens, width)."""
    return lambda: (
        Body(
            lambda m, x: m.head(m.layers(m.embed(tokens(x))).tanh().mean(1)),
            embed=nn.Linear(12, width),
            layers=nn.Sequential(*layers),
            head=nn.Linear(width, CLASSES),
        ),
        SHAPE,
    )


def on_maps(*layers: nn.Module, channels: int = 4) -> Case:
    """The layers on (images, channels, 6, 6)."""
    return lambda: (
        Body(
            lambda m, x: m.head(m.layers(m.stem(x).tanh()).tanh().mean((2, 3))),
            stem=nn.Conv2d(2, channels, 3, padding=1),
            layers=nn.Sequential(*layers),
            head=nn.LazyLinear(CLASSES),
        ),
        SHAPE,
    )


def conv(**how: Any) -> Case:
    """One convolution of 4 to 6 channels, kernel 3 unless told."""
    return on_maps(nn.Conv2d(4, 6, **{"kernel_size": 3, **how}))


def small_vit() -> tuple[nn.Module, Shape]:
    return ViT((1, 4, 6), CLASSES, 0.3, patch=2, dim=6, depth=2, heads=2, hidden=5), (1, 4, 6)


def shared_parameter() -> tuple[nn.Module, Shape]:
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    return on_vectors(first, nn.Tanh(), second)()


def residual_in_place() -> tuple[nn.Module, Shape]:
    def run(m: Any, x: Tensor) -> Tensor:
        out = m.relu(m.norm(m.stem(x)))
        identity = out
        out = m.second(m.relu(m.first(out)))
        out += identity
        return m.head(m.relu(out).mean((2, 3)))

    parts = dict(stem=nn.Conv2d(2, 4, 3), norm=nn.GroupNorm(2, 4), head=nn.Linear(4, CLASSES))
    parts |= dict(first=nn.Conv2d(4, 4, 3, padding=1), second=nn.Conv2d(4, 4, 3, padding=1))
    return Body(run, **parts, relu=nn.ReLU(inplace=True)), SHAPE


FOLDED: dict[str, Case] = {
    "linear": on_vectors(nn.Linear(5, 5)),
    "linear without bias": on_vectors(nn.Linear(5, 5, bias=False)),
    "linear on tokens": on_tokens(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 5, bias=False)),
    "linear on maps": on_maps(nn.Linear(6, 6)),
    "layer norm": on_tokens(nn.LayerNorm(5)),
    "layer norm with another epsilon": on_tokens(nn.LayerNorm(5, eps=0.1)),
    "layer norm without affine": on_tokens(nn.LayerNorm(5, elementwise_affine=False)),
    "layer norm without bias": on_tokens(nn.LayerNorm(5, bias=False)),
    "layer norm over tokens too": on_tokens(nn.LayerNorm((6, 5), eps=1e-3)),
    "layer norm on vectors": on_vectors(nn.LayerNorm(5)),
    "group norm": on_maps(nn.GroupNorm(2, 4)),
    "group norm with another epsilon": on_maps(nn.GroupNorm(2, 4, eps=0.1)),
    "group norm without affine": on_maps(nn.GroupNorm(4, 4, affine=False)),
    "group norm on vectors": on_vectors(nn.GroupNorm(3, 6), width=6),
    "conv": conv(),
    "conv without bias": conv(bias=False),
    "conv strided and padded": conv(stride=2, padding=1),
    "conv oblong": conv(kernel_size=(3, 2), stride=(1, 2), padding=(0, 1)),
    "conv dilated": conv(dilation=2, padding=2),
    "conv grouped": conv(groups=2),
    "conv depthwise": on_maps(nn.Conv2d(4, 8, 3, groups=4, bias=False)),
    "conv 1x1": conv(kernel_size=1),
    "conv that forgets a pixel": conv(kernel_size=2, stride=3),
    "conv circular": conv(padding=2, padding_mode="circular"),
    "conv reflect": conv(padding=(1, 2), padding_mode="reflect"),
    "conv replicate": conv(padding=1, padding_mode="replicate", stride=2),
    "conv same": conv(padding="same"),
    "conv same, even kernel": conv(padding="same", kernel_size=(4, 2), dilation=(1, 2)),
    "conv same, circular": conv(padding="same", padding_mode="circular"),
    "conv valid": conv(padding="valid"),
    "gelu by tanh": on_vectors(nn.GELU(approximate="tanh"), nn.Linear(5, 5)),
    "positions and class token": small_vit,
    "mlp": lambda: (MLP(SHAPE, CLASSES, 0.4, width=5, depth=2), SHAPE),
    "module called twice": on_tokens(shared := nn.Linear(5, 5), nn.Tanh(), shared),
    "norm called twice": on_tokens(again := nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 5), again),
    "conv called twice": on_maps(twice := nn.Conv2d(4, 4, 3, padding=1), nn.Tanh(), twice),
    "in place and residual": residual_in_place,
    "dropout": on_tokens(nn.Dropout(0.3), nn.Linear(5, 5), nn.Dropout(0.6, inplace=True)),
    "channel dropout": on_maps(nn.Dropout2d(0.3), nn.Conv2d(4, 4, 3), nn.Dropout2d(0.5)),
    "dropout called twice": on_vectors(dropped := nn.Dropout(0.3), nn.Linear(5, 5), dropped),
    "dropout of rate 0": on_vectors(nn.Dropout(0.0), nn.Linear(5, 5), nn.Dropout(0.5)),
    "called by keyword": lambda: (
        Body(
            lambda m, x: m.head(input=m.act(input=m.norm(input=m.conv(input=x))).mean((2, 3))),
            conv=nn.Conv2d(2, 4, 3),
            act=nn.GELU(),
            norm=nn.GroupNorm(2, 4),
            head=nn.Linear(4, CLASSES),
        ),
        SHAPE,
    ),
    "parameter that takes no part": lambda: (
        Body(lambda m, x: m.fc(x.flatten(1)), fc=nn.Linear(PIXELS, CLASSES), idle=nn.Linear(2, 2)),
        SHAPE,
    ),
}
"""Models whose parameters the folded rules cover."""

GENERIC: dict[str, tuple[Case, set[str]]] = {
    "shared parameter": (shared_parameter, {"2.weight"}),
    "tied and transposed": (
        lambda: (
            Body(
                lambda m, x: m.head(m.fc(x.flatten(1)).tanh() @ m.fc.weight),
                fc=nn.Linear(PIXELS, 4),
                head=nn.Linear(PIXELS, CLASSES),
            ),
            SHAPE,
        ),
        {"fc.weight"},
    ),
    "functional parameter": (
        lambda: (
            Body(
                lambda m, x: m.head((m.fc(x.flatten(1)) * m.scale).tanh()),
                fc=nn.Linear(PIXELS, 4),
                scale=parameter(4),
                head=nn.Linear(4, CLASSES),
            ),
            SHAPE,
        ),
        {"scale"},
    ),
    "scalar parameter": (
        lambda: (
            Body(
                lambda m, x: m.head((m.fc(x.flatten(1)) * m.scale).tanh()),
                fc=nn.Linear(PIXELS, 4),
                scale=parameter(1),
                head=nn.Linear(4, CLASSES),
            ),
            SHAPE,
        ),
        {"scale"},
    ),
    "repeated parameter": (
        lambda: (
            Body(
                lambda m, x: m.head((m.embed(tokens(x)) + m.position.repeat(len(x), 1, 1)).tanh().mean(1)),
                embed=nn.Linear(12, 4),
                position=parameter(1, 6, 4),
                head=nn.Linear(4, CLASSES),
            ),
            SHAPE,
        ),
        {"position"},
    ),
    "tokens before images": (
        lambda: (
            Body(
                lambda m, x: m.head(m.mix(m.embed(tokens(x)).transpose(0, 1)).tanh().mean(0)),
                embed=nn.Linear(12, 4),
                mix=nn.Linear(4, 4),
                head=nn.Linear(4, CLASSES),
            ),
            SHAPE,
        ),
        {"mix.weight", "mix.bias"},
    ),
    "other layer": (
        lambda: (
            Body(
                lambda m, x: m.head(m.conv(tokens(x)).tanh().mean(2)),
                conv=nn.Conv1d(6, 4, 3),
                head=nn.Linear(4, CLASSES),
            ),
            SHAPE,
        ),
        {"conv.weight", "conv.bias"},
    ),
    "weight norm": (
        lambda: on_vectors(nn.utils.parametrizations.weight_norm(nn.Linear(5, 5)))(),
        {f"2.parametrizations.weight.original{number}" for number in range(2)} | {"2.bias"},
    ),
    "prelu": (on_vectors(nn.PReLU(), nn.Linear(5, 5)), {"2.weight"}),
    "layer on a constant": (
        lambda: (
            Body(
                lambda m, x: m.head((m.embed(tokens(x)) + m.place(torch.eye(6).to(x))).tanh().mean(1)),
                embed=nn.Linear(12, 4),
                place=nn.Linear(6, 4),
                head=nn.Linear(4, CLASSES),
            ),
            SHAPE,
        ),
        {"place.weight", "place.bias"},
    ),
    "batch norm": (
        on_maps(nn.BatchNorm2d(4, track_running_stats=False)),
        {"stem.weight", "stem.bias", "layers.0.weight", "layers.0.bias", "head.weight", "head.bias"},
    ),
    "batch norm with running statistics": (
        on_maps(nn.BatchNorm2d(4)),
        {"stem.weight", "stem.bias", "layers.0.weight", "layers.0.bias", "head.weight", "head.bias"},
    ),
    "everything by hand": (
        lambda: (
            Body(
                lambda m, x: F.linear((x.flatten(1) @ m.first).tanh(), m.second),
                first=parameter(PIXELS, 4),
                second=parameter(CLASSES, 4),
            ),
            SHAPE,
        ),
        {"first", "second"},
    ),
}
"""Models that need the per-victim path, and the parameters that it must announce."""


def made(case: Case, seed: int = 0) -> tuple[nn.Module, Shape]:
    """A case's model in float64, train mode, its weights drawn under ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, shape = case()
        model = copy.deepcopy(model).double()
        model.eval()(torch.zeros(1, *shape, dtype=torch.float64))  # lazy layers take their shape
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        for value in model.parameters():
            if (
                value.dim() == 1 or not value.abs().sum()
            ):  # norms start at one and zero: nothing would be tested
                nn.init.normal_(value)
    return model.train(), shape
