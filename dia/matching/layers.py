"""Per-layer rules: from a layer's inputs and the loss gradient at its outputs to its parameters' gradients.

Each rule turns one call of a layer, with V victims of N images folded into its batch, into the gradient of every
parameter for every victim. Sums over positions only: no rule mixes victims.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dia.matching.pieces import Dense, OuterSum, Piece

Rule = Callable[[nn.Module, Tensor, Tensor, int], dict[str, Piece]]
"""(module, input (V*N, ...), output gradient (V*N, ...), V) -> {parameter name: its gradient}."""


def linear(module: nn.Module, x: Tensor, delta: Tensor, victims: int) -> dict[str, Piece]:
    """``y = W a + b``: W as a sum of outer products over images and tokens, b as a sum of deltas."""
    assert isinstance(module, nn.Linear)
    deltas = delta.reshape(victims, 1, -1, module.out_features)
    inputs = x.reshape(victims, 1, -1, module.in_features)
    pieces: dict[str, Piece] = {"weight": OuterSum(deltas, inputs, module.weight.shape)}
    if module.bias is not None:
        pieces["bias"] = Dense(deltas.sum((1, 2)))
    return pieces


def conv2d(module: nn.Module, x: Tensor, delta: Tensor, victims: int) -> dict[str, Piece]:
    """A convolution is the linear rule on unfolded inputs, a position being an image and a pixel."""
    assert isinstance(module, nn.Conv2d)
    groups = module.groups
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        sides = module._reversed_padding_repeated_twice
        x = F.pad(x, sides, mode="constant" if module.padding_mode == "zeros" else module.padding_mode)
        padding: int | tuple[int, ...] = 0
    else:
        padding = module.padding
    columns = F.unfold(x, module.kernel_size, module.dilation, padding, module.stride)  # images, in*k*k, L
    inputs = columns.reshape(victims, -1, groups, columns.shape[1] // groups, columns.shape[2])
    deltas = delta.reshape(victims, -1, groups, module.out_channels // groups, columns.shape[2])
    inputs = inputs.permute(0, 2, 1, 4, 3).flatten(2, 3)
    deltas = deltas.permute(0, 2, 1, 4, 3).flatten(2, 3)
    pieces: dict[str, Piece] = {"weight": OuterSum(deltas, inputs, module.weight.shape)}
    if module.bias is not None:
        pieces["bias"] = Dense(delta.reshape(victims, -1, *delta.shape[1:]).sum((1, 3, 4)))
    return pieces


def layer_norm(module: nn.Module, x: Tensor, delta: Tensor, victims: int) -> dict[str, Piece]:
    """``y = w xhat + b``: gradients sum(delta xhat) and sum(delta) over images and leading positions."""
    assert isinstance(module, nn.LayerNorm)
    normalised = F.layer_norm(x, module.normalized_shape, eps=module.eps)
    return _affine(module, normalised, delta, (victims, -1, *module.normalized_shape), summed=(1,))


def group_norm(module: nn.Module, x: Tensor, delta: Tensor, victims: int) -> dict[str, Piece]:
    """As :func:`layer_norm`, one weight a channel: sums over images and pixels."""
    assert isinstance(module, nn.GroupNorm)
    normalised = F.group_norm(x, module.num_groups, eps=module.eps)
    return _affine(module, normalised, delta, (victims, x.shape[0] // victims, x.shape[1], -1), summed=(1, 3))


def _affine(
    module: nn.Module, normalised: Tensor, delta: Tensor, view: tuple[int, ...], summed: tuple[int, ...]
) -> dict[str, Piece]:
    pieces: dict[str, Piece] = {}
    if module.weight is not None:
        pieces["weight"] = Dense((delta * normalised).reshape(view).sum(summed))
    if module.bias is not None:
        pieces["bias"] = Dense(delta.reshape(view).sum(summed))
    return pieces


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: linear,
    nn.Conv2d: conv2d,
    nn.LayerNorm: layer_norm,
    nn.GroupNorm: group_norm,
}


def expanded(parameter: Tensor, images: int) -> Tensor:
    """A parameter of shape (1, ...) that broadcasts over the batch, as one leaf an image: (images, ...).

    Position embeddings and class tokens are used this way; the gradient at the leaf is the image's own.
    """
    return parameter.detach().expand(images, *parameter.shape[1:]).requires_grad_()


def total(pieces: list[Piece]) -> Dense:
    """A parameter used in several places: its gradient is the sum of theirs."""
    return Dense(torch.stack([piece.dense() for piece in pieces]).sum(0))
