"""The fully connected network of the paper: 3 hidden layers of 512, GELU, no biases."""

from itertools import pairwise

from torch import Tensor, nn

from dia.models.dropout import Dropout


class HiddenLayer(nn.Module):
    """Linear, then GELU and dropout."""

    def __init__(self, fan_in: int, fan_out: int, p: float) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, fan_out, bias=False)
        self.activation = nn.GELU()
        self.dropout = Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.activation(self.linear(x)))


class Head(nn.Module):
    """The last Linear."""

    def __init__(self, fan_in: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class MLP(nn.Module):
    """Dropout after each hidden activation; parameter names as in the authors' code (``layers.N.linear.weight``).

    Args:
        shape: (C, H, W) of the input.
        num_classes: Number of outputs.
        p: Dropout rate, 0 <= p < 1.
        width: Units of a hidden layer.
        depth: Number of hidden layers.
    """

    def __init__(
        self, shape: tuple[int, int, int], num_classes: int, p: float, *, width: int = 512, depth: int = 3
    ) -> None:
        super().__init__()
        channels, height, breadth = shape
        fans = [channels * height * breadth] + [width] * depth
        layers: list[nn.Module] = [HiddenLayer(a, b, p) for a, b in pairwise(fans)]
        self.layers = nn.ModuleList([*layers, Head(width, num_classes)])

    def forward(self, x: Tensor) -> Tensor:
        """(images, C, H, W) -> (images, num_classes)."""
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x)
        return x
