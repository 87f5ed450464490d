"""Attack every file that the federation left behind, as the server could.

    python attack.py updates --steps 1 2 5

Prints a line per client: the inferred label, the matching distance, and, because the example has the private images,
the SSIM. Writes the pictures as ``reconstructions.png``.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from task import MEAN, SHAPE, STD, network, private_data

import dia


@dataclass(frozen=True)
class Attacked:
    """A client, attacked."""

    steps: int
    client: int
    result: dia.Inversion
    ssim: float


def attack(folder: Path, steps: int, lr: float, method: str, **settings: object) -> Iterator[Attacked]:
    """Attack the clients of one round."""
    before = dia.read_update(folder / "before.npz")
    protocol = dia.FedSGD(lr) if steps == 1 else dia.FedAvg(lr, epochs=steps)
    for path in sorted(folder.glob("client_*.npz")):
        number = int(path.stem.removeprefix("client_"))
        r = dia.invert(
            network(), dia.read_update(path), kind="weights", before=before, protocol=protocol,
            shape=SHAPE, mean=MEAN, std=STD, method=method, **settings,
        )  # fmt: skip
        images, _ = private_data(number)
        yield Attacked(steps, number, r, float(dia.score(r.images, images).ssim.mean()))


def save_pictures(rows: Sequence[Sequence[Attacked]], path: Path) -> None:
    """The private images above, and below them what came back in each round."""
    originals = [private_data(found.client)[0][0, 0].numpy() for found in rows[0]]
    lines = [originals, *([found.result.images[0, 0].numpy() for found in row] for row in rows)]
    whole = np.concatenate(
        [np.concatenate([np.pad(x, 1, constant_values=1) for x in line], 1) for line in lines]
    )
    size = (whole.shape[1] * 2, whole.shape[0] * 2)
    Image.fromarray((whole * 255).round().astype(np.uint8)).resize(size, Image.Resampling.NEAREST).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("updates", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 5])
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--method", default="dia")
    parser.add_argument("--iterations", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)  # these models are small: more threads only wait for each other
    rows = []
    for number, steps in enumerate(args.steps, 1):
        folder = args.updates / f"round_{number}"
        row = []
        for found in attack(folder, steps, args.lr, args.method, max_iterations=args.iterations):
            r = found.result
            print(
                f"steps {steps}  client {found.client:2d}  label {r.labels.tolist()}  distance {r.distance:.1e}  "
                f"SSIM {found.ssim:.3f}  {r.seconds:.1f} s  {'; '.join(w.split(':')[0] for w in r.warnings)}",
                flush=True,
            )
            row.append(found)
        ssim = np.array([found.ssim for found in row])
        print(
            f"steps {steps}: SSIM {ssim.mean():.3f}, above 0.9 for {(ssim > 0.9).sum()} of {len(row)} clients"
        )
        rows.append(row)
    save_pictures(rows, args.updates / "reconstructions.png")


if __name__ == "__main__":
    main()
