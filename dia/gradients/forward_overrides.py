"""Parameter-free modules that the engine computes by :mod:`dia.ops` instead of torch's own operations."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from dia.models.vit import AttentionWithDropout
from dia.ops.attention import attention
from dia.ops.gelu import gelu


def _gelu(module: nn.GELU, input: Tensor) -> Tensor:
    return gelu(input) if module.approximate == "none" else nn.GELU.forward(module, input)


def _mixing(module: AttentionWithDropout, query: Tensor, key: Tensor, value: Tensor, tokens: slice) -> Tensor:
    mask = module.dropout.next_mask((slice(None), tokens))
    if mask is not None:  # the values are fewer than the probabilities: scale those
        value = value * module.dropout.keep_scale
    return attention(query, key, value, mask, module.scale)


OVERRIDES: dict[type[nn.Module], Callable[..., Tensor]] = {nn.GELU: _gelu, AttentionWithDropout: _mixing}


def forward_overrides(model: nn.Module) -> list[tuple[nn.Module, Callable[..., Any]]]:
    """(module, the forward to use in its place) of every module of ``model`` that has a faster form."""
    return [(m, partial(OVERRIDES[type(m)], m)) for m in model.modules() if type(m) in OVERRIDES]
