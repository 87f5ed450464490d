"""Per-layer rules: from a layer's calls to its parameters' gradients.

A rule computes a layer's output together with what it must remember of the call, and turns that, with the loss
gradient at the output, into the gradient of every parameter for every victim. V victims of N images are folded into
the batch; positions are summed over, victims never mixed.

A new kind of layer is a class with :func:`layer_rule` above it, and nothing else: the engine checks every rule against
autograd (see :mod:`dia.gradients.probe`).
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dia.gradients.factored import DenseGradient, FactoredGradient, ParameterGradient
from dia.ops.im2col import im2col
from dia.ops.layer_norm import normalised


class Rule(Protocol):
    """The gradients of one kind of layer."""

    def forward(self, module: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """(V*N, ...) input -> (output, what :meth:`gradients` needs of this call)."""

    def gradients(
        self, module: Any, saved_input: Tensor, delta: Tensor, victims: int
    ) -> dict[str, ParameterGradient]:
        """The saved input and the loss gradient at the output -> {parameter name: gradient}."""


RULES: dict[type[nn.Module], Rule] = {}
"""Kind of layer -> its rule; a subclass is another kind, since its forward may be another."""


def layer_rule(kind: type[nn.Module]) -> Callable[[type[Rule]], type[Rule]]:
    """Register the decorated class as the rule of layers of exactly this type."""

    def register(rule: type[Rule]) -> type[Rule]:
        RULES[kind] = rule()
        return rule

    return register


@layer_rule(nn.Linear)
class LinearRule:
    """``y = W a + b``: W as a sum of outer products over images and tokens, b as a sum of deltas."""

    def forward(self, module: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.linear(x, module.weight, module.bias), x

    def gradients(
        self, module: nn.Linear, saved_input: Tensor, delta: Tensor, victims: int
    ) -> dict[str, ParameterGradient]:
        deltas = delta.reshape(victims, 1, -1, module.out_features)
        inputs = saved_input.reshape(victims, 1, -1, module.in_features)
        pieces: dict[str, ParameterGradient] = {
            "weight": FactoredGradient(deltas, inputs, module.weight.shape)
        }
        if module.bias is not None:
            pieces["bias"] = DenseGradient(deltas.sum((1, 2)))
        return pieces


@layer_rule(nn.Conv2d)
class Conv2dRule:
    """A convolution is the linear rule on unfolded inputs, a position being an image and a pixel."""

    def forward(self, module: nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor]:
        return nn.Conv2d.forward(module, x), x

    def gradients(
        self, module: nn.Conv2d, saved_input: Tensor, delta: Tensor, victims: int
    ) -> dict[str, ParameterGradient]:
        groups, padding = module.groups, module.padding
        if module.padding_mode != "zeros" or isinstance(padding, str):
            mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
            saved_input, padding = (
                F.pad(saved_input, module._reversed_padding_repeated_twice, mode=mode),
                (0, 0),
            )
        columns = im2col(saved_input, module.kernel_size, module.dilation, padding, module.stride)
        images, fan_in, pixels = saved_input.shape[0] // victims, columns.shape[1] // groups, columns.shape[2]
        inputs = columns.reshape(victims, images, groups, fan_in, pixels)
        deltas = delta.reshape(victims, images, groups, module.out_channels // groups, pixels)
        by_deltas, by_inputs = (t.permute(0, 2, 1, 4, 3).flatten(2, 3) for t in (deltas, inputs))
        pieces: dict[str, ParameterGradient] = {
            "weight": FactoredGradient(by_deltas, by_inputs, module.weight.shape)
        }
        if module.bias is not None:
            pieces["bias"] = DenseGradient(deltas.flatten(2, 3).sum((1, 3)))
        return pieces


@layer_rule(nn.LayerNorm)
class LayerNormRule:
    """``y = w xhat + b``: gradients sum(delta xhat) and sum(delta) over images and leading positions."""

    def forward(self, module: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Tensor]:
        if len(module.normalized_shape) == 1:
            xhat = normalised(x, module.eps)
        else:
            xhat = F.layer_norm(x, module.normalized_shape, eps=module.eps)
        if module.weight is None:
            return xhat.view_as(xhat), xhat
        if module.bias is None:
            return xhat * module.weight, xhat
        return torch.addcmul(module.bias, xhat, module.weight), xhat

    def gradients(
        self, module: nn.LayerNorm, saved_input: Tensor, delta: Tensor, victims: int
    ) -> dict[str, ParameterGradient]:
        return _affine(module, saved_input, delta, (victims, -1, *module.normalized_shape), summed=(1,))


@layer_rule(nn.GroupNorm)
class GroupNormRule:
    """Like layer normalisation, with one weight per channel: sums over images and pixels."""

    def forward(self, module: nn.GroupNorm, x: Tensor) -> tuple[Tensor, Tensor]:
        # Layer normalisation of each group; torch decomposes the second derivative of its own group normalisation.
        xhat = normalised(x.reshape(len(x), module.num_groups, -1), module.eps).view_as(x)
        if module.weight is None:
            return xhat.view_as(xhat), xhat
        shape = (-1, *[1] * (x.dim() - 2))
        return torch.addcmul(module.bias.view(shape), xhat, module.weight.view(shape)), xhat

    def gradients(
        self, module: nn.GroupNorm, saved_input: Tensor, delta: Tensor, victims: int
    ) -> dict[str, ParameterGradient]:
        view = (victims, saved_input.shape[0] // victims, module.num_channels, -1)
        return _affine(module, saved_input, delta, view, summed=(1, 3))


def _affine(
    module: nn.LayerNorm | nn.GroupNorm,
    xhat: Tensor,
    delta: Tensor,
    view: tuple[int, ...],
    summed: tuple[int, ...],
) -> dict[str, ParameterGradient]:
    pieces: dict[str, ParameterGradient] = {}
    if module.weight is not None:
        pieces["weight"] = DenseGradient((delta * xhat).reshape(view).sum(summed))
    if module.bias is not None:
        pieces["bias"] = DenseGradient(delta.reshape(view).sum(summed))
    return pieces


def per_image_leaf(parameter: Tensor, images: int) -> Tensor:
    """A parameter of shape (1, ...) that broadcasts over the batch, as one leaf an image: (images, ...).

    Position embeddings and class tokens are used this way; the gradient at the leaf is the image's own.
    """
    return parameter.detach().expand(images, *parameter.shape[1:]).requires_grad_()


def sum_gradients(pieces: list[ParameterGradient]) -> DenseGradient:
    """A parameter used in several places: its gradient is the sum of theirs."""
    return DenseGradient(torch.stack([piece.dense() for piece in pieces]).sum(0))
