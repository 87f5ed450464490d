"""The default dropout of 0.5 defeats a gradient attack, and the Dropout Inversion Attack undoes that.

    python run.py

Writes ``reconstructions.png``: private digits; what a gradient attack finds without dropout; what it finds with
dropout 0.5, masks ignored; what DIA finds, masks optimised.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import dia
from dia.datasets.bundled_mnist import DIGITS

MEAN, STD = 0.1307, 0.3081
ROWS = {"no dropout, ig": (0.0, "ig"), "dropout 0.5, ig": (0.5, "ig"), "dropout 0.5, dia": (0.5, "dia")}


def convnet2(dropout: float) -> nn.Module:
    """Two convolutions and a head with dropout, the kind of network that federated learning examples train."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.ReLU(),
        nn.Flatten(), nn.Dropout(dropout), nn.Linear(32 * 7 * 7, 256), nn.ReLU(),
        nn.Dropout(dropout), nn.Linear(256, 10),
    )  # fmt: skip


def client_gradient(model: nn.Module, image: Tensor, label: int) -> list[Tensor]:
    """One client's gradient, in train mode."""
    torch.manual_seed(label)
    loss = F.cross_entropy(model.train()((image[None] - MEAN) / STD), torch.tensor([label]))
    return list(torch.autograd.grad(loss, list(model.parameters())))


def attack(digits: list[int], iterations: int) -> dict[str, list[tuple[Tensor, float]]]:
    """Row -> for every digit the reconstruction (1, 28, 28) and its SSIM."""
    found: dict[str, list[tuple[Tensor, float]]] = {name: [] for name in ROWS}
    for label in digits:
        image = digit(label)
        for name, (dropout, method) in ROWS.items():
            model = convnet2(dropout)
            r = dia.invert(
                model, client_gradient(model, image, label), shape=(1, 28, 28), mean=MEAN, std=STD,
                method=method, max_iterations=iterations,
            )  # fmt: skip
            found[name].append((r.images[0], float(dia.score(r.images, image).ssim)))
    return found


def digit(label: int) -> Tensor:
    """A bundled MNIST digit (1, 28, 28) in [0, 1]."""
    with np.load(DIGITS) as file:
        return torch.from_numpy(file["images"][500 * label + 7]).float()[None] / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, nargs="+", default=[3, 8])
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("reconstructions.png"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = attack(args.digits, args.iterations)
    for name, row in found.items():
        print(f"{name:18s} SSIM {', '.join(f'{ssim:.3f}' for _, ssim in row)}")
    lines = [[digit(label) for label in args.digits], *([x for x, _ in row] for row in found.values())]
    whole = np.concatenate(
        [np.concatenate([np.pad(x[0].numpy(), 1, constant_values=1) for x in line], 1) for line in lines]
    )
    picture = Image.fromarray((whole * 255).round().astype(np.uint8))
    picture.resize((picture.width * 3, picture.height * 3), Image.Resampling.NEAREST).save(args.out)


if __name__ == "__main__":
    main()
