"""The parts that server and clients share: a network with dropout, and MNIST digits, one per client."""

import numpy as np
import torch
from torch import Tensor, nn

from dia.datasets.bundled_mnist import DIGITS

MEAN, STD = 0.1307, 0.3081
SHAPE = (1, 28, 28)


def network() -> nn.Module:
    """Two hidden layers with dropout 0.5; the same weights each time."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in ((784, 256), (256, 256)):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(256, 10))


def private_data(client: int, images: int = 1) -> tuple[Tensor, Tensor]:
    """A client's images (images, 1, 28, 28) in [0, 1], and their labels."""
    with np.load(DIGITS) as file:
        # 500 of each digit, sorted by digit: step through digits and examples.
        chosen = [(client + n) % 10 * 500 + 20 * (client // 10) + 100 + n for n in range(images)]
        pixels = torch.from_numpy(file["images"][chosen]).float() / 255
        return pixels[:, None], torch.from_numpy(file["labels"][chosen]).long()
