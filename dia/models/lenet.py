"""A LeNet: three strided convolutions and one Linear.

Inferred: the paper names it, its released code does not have it; this is the one of its authors' later code.
"""

from torch import Tensor, nn

from dia.errors import ModelError
from dia.models.dropout import Dropout

KERNEL, STRIDE = 5, 2
CHANNELS = (16, 32, 64)
SMALLEST = 29
"""The smallest side that three valid convolutions take; a smaller image is padded by 2, as LeCun et al. (1998) do."""


class LeNet(nn.Module):
    """Convolutions 5 x 5 of stride 2 without padding, 16, 32 and 64 channels, each with ReLU; then a Linear.

    Dropout after each convolution's ReLU (site ``convolutions``) and before the Linear (site ``head``).

    Args:
        shape: (C, H, W) of the input.
        num_classes: Number of outputs.
        p: Dropout rate of all sites, 0 <= p < 1.

    Raises:
        ModelError: The image is too small.
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int, p: float) -> None:
        super().__init__()
        channels, *sides = shape
        padding = 0 if min(sides) >= SMALLEST else 2
        if min(sides) + 2 * padding < SMALLEST:
            raise ModelError(
                f"lenet needs images of at least {SMALLEST - 4} pixels each way, not {sides[0]} x {sides[1]}"
            )
        layers: list[nn.Module] = []
        for number, (fan_in, fan_out) in enumerate(zip((channels, *CHANNELS[:-1]), CHANNELS, strict=True)):
            extra = padding if number == 0 else 0
            layers += [nn.Conv2d(fan_in, fan_out, KERNEL, STRIDE, extra), nn.ReLU(), Dropout(p)]
            sides = [(side + 2 * extra - KERNEL) // STRIDE + 1 for side in sides]
        self.features = nn.Sequential(*layers)
        self.dropout = Dropout(p)
        self.classifier = nn.Linear(CHANNELS[-1] * sides[0] * sides[1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(images, C, H, W) -> (images, num_classes)."""
        return self.classifier(self.dropout(self.features(x).flatten(1)))
