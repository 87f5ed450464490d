"""The last linear layer of a network taken apart into its inputs and deltas, ``G = sum_n deltas_n inputs_n^T``.

The deltas are ``softmax - onehot``: they tell the label and, with the bias or without, the scale of the inputs, and
by how much the whole gradient was scaled before it was sent (clipping).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dia.attacks.analytic.errors import NotApplicable

LOG_SIZES = (-9.0, 9.0)
"""The natural logarithm of an input's length is sought between these."""

CONSISTENT = 1e-3
"""Largest distance between the directions of received deltas and of the model's own."""


@dataclass(frozen=True)
class Head:
    """The information in the last layer's gradient.

    Attributes:
        inputs: (N, features).
        deltas: (N, classes), of the mean loss over the N images.
        factor: By what the gradient was multiplied before it was sent; 1 for one that was not.
    """

    inputs: Tensor
    deltas: Tensor
    factor: float


def of_one_image(name: str, layer: nn.Linear, weight: Tensor, bias: Tensor | None, label: int) -> Head:
    """The head for one image, whose weight gradient has rank one.

    Args:
        name: The layer's name.
        layer: In float64.
        weight: Its gradient (classes, features), float64.
        bias: Likewise (classes,), or None.
        label: The image's class.

    Raises:
        NotApplicable: The gradient is zero, or no scale is better than the others.
    """
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    if not float(values[0]) > 0:
        raise NotApplicable(f"the gradient of {name}.weight is zero")
    columns, rows = left[:, :1] * values[0], right[:1].T
    return of_factors(layer, columns, rows, bias, torch.tensor([label], device=weight.device))


def of_factors(layer: nn.Linear, left: Tensor, right: Tensor, bias: Tensor | None, labels: Tensor) -> Head:
    """The head from the factors of its gradient, each known up to a scalar.

    Args:
        layer: In float64.
        left, right: ``G = left right^T``, (classes, N) and (features, N), images in the order of their labels.
        bias: Gradient of the bias (classes,), the sum of the deltas; None: the scales are sought.
        labels: (N,).

    Raises:
        NotApplicable: No scale is better than the others.
    """
    count, classes = len(labels), len(left)
    onehot = F.one_hot(labels, classes).to(left)
    if bias is not None:
        sizes = 1 / torch.linalg.lstsq(left, bias[:, None]).solution[:, 0]
    else:
        sizes = torch.stack([_size(layer, left[:, n], right[:, n], onehot[n]) for n in range(count)])
    inputs = (right * sizes).T
    own = (layer(inputs).softmax(1) - onehot) / count
    received = (left / sizes).T
    return Head(inputs, own, float((received * own).sum() / own.square().sum()))


def _size(layer: nn.Linear, left: Tensor, right: Tensor, onehot: Tensor) -> Tensor:
    """The signed length of the input for which the model's deltas have the direction of those received."""
    sign = -torch.sign(left @ onehot)
    target = F.normalize(left * sign, dim=0)

    def sine(sizes: Tensor) -> Tensor:
        deltas = layer(sizes[:, None] * sign * right).softmax(1) - onehot
        return (F.normalize(deltas, dim=1) - target).norm(dim=1)

    size, distance = _least(sine, *LOG_SIZES, like=left)
    if distance > CONSISTENT:
        raise NotApplicable("no scale of the last layer's input explains its gradient")
    return sign * size


def _least(
    mismatch: Callable[[Tensor], Tensor], low: float, high: float, like: Tensor
) -> tuple[Tensor, float]:
    """The number of least mismatch, by ever finer grids of its logarithm, and that mismatch."""
    for _ in range(12):
        grid = torch.linspace(low, high, 201, dtype=like.dtype, device=like.device)
        values = mismatch(grid.exp())
        best, width = float(grid[values.argmin()]), (high - low) / 200
        low, high = best - 2 * width, best + 2 * width
    return grid[values.argmin()].exp(), float(values.min())
