"""Pixels that nothing depends on, against what one sees by moving every pixel."""

from collections.abc import Callable

import pytest
import torch
from helpers.structured_problems import CLASSES
from torch import Tensor, nn

from dia.models.dropout import dropout_sites, replace_dropout
from dia.models.lenet import LeNet
from dia.models.mlp import MLP
from dia.models.unseen_pixels import unseen_pixels

SHAPE = (2, 9, 10)


class Halves(nn.Module):
    """Uses the left half of one channel, and of the other only whether it is a number of any kind."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(45, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x[:, 0, :, :5].flatten(1))


def strided() -> nn.Module:
    """The second convolution skips more than the first."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 2, stride=2),
        nn.ReLU(),
        nn.Dropout(),
        nn.Conv2d(4, 5, 3, stride=2),
        nn.Flatten(),
        nn.Linear(10, CLASSES),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "left half": Halves,
    "strided": strided,
    "all seen": lambda: MLP(SHAPE, CLASSES, 0.5, width=8, depth=1),
    "max pooling": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.MaxPool2d(3, stride=3), nn.Flatten(), nn.Linear(12, CLASSES)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_moving_an_unseen_pixel_changes_nothing_and_a_seen_one_something(name: str) -> None:
    torch.manual_seed(0)
    model = replace_dropout(MODELS[name]()).double()
    unseen = unseen_pixels(model, dropout_sites(model, torch.zeros(1, *SHAPE, dtype=torch.float64)), SHAPE)
    assert model.training
    images = torch.randn(6, *SHAPE, dtype=torch.float64)
    model.eval()
    with torch.no_grad():
        moved = torch.zeros(SHAPE, dtype=torch.bool).flatten()
        for pixel in range(len(moved)):
            others = images.clone()
            others.view(6, -1)[:, pixel] += torch.tensor([5.0, -5.0] * 3, dtype=torch.float64)
            moved[pixel] = bool((model(others) != model(images)).any())
    assert torch.equal(unseen, ~moved.view(SHAPE))


def test_a_lenet_never_sees_the_last_three_rows_and_columns_of_a_colour_image() -> None:
    torch.manual_seed(0)
    model = LeNet((3, 32, 32), 10, 0.5)
    unseen = unseen_pixels(model, dropout_sites(model, torch.zeros(1, 3, 32, 32)), (3, 32, 32))
    expected = torch.ones(3, 32, 32, dtype=torch.bool)
    expected[:, :29, :29] = False
    assert torch.equal(unseen, expected)


def test_a_pixel_that_takes_part_with_weight_zero_is_not_called_unseen() -> None:
    """Its derivative is zero on every probe, but other weights would see it: nothing is proven."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(180, CLASSES))
    with torch.no_grad():
        model[1].weight[:, 7] = 0
    assert not bool(unseen_pixels(model, [], SHAPE).any())
