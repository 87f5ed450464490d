"""Source ``bundled-photos``: crops of eight colour photographs that come with this package; no network.

A stand-in for natural images at any size from 16 to 256 pixels. Crop k of a photograph is a square window
whose side and place come from a low-discrepancy sequence, scaled to the size asked for: the same crop for
ever, as many as wanted, spread evenly over the photograph (large numbers of them overlap). The label of a
crop is the number of its photograph, so images of one class do resemble each other. ``data/README.md`` says where the
photographs are from.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dia.datasets.source import ImageSource
from dia.datasets.specs import BundledPhotos
from dia.errors import VictimError

if TYPE_CHECKING:
    from PIL import Image


FOLDER = Path(__file__).with_name("data") / "photographs"


class Photograph(NamedTuple):
    """A bundled photograph and the part of it that crops are taken from."""

    file: str
    size: tuple[int, int]  # width, height
    box: tuple[int, int, int, int] | None = None  # left, top, right, bottom; None: all of it


PHOTOGRAPHS = (
    Photograph("astronaut.png", (512, 512)),
    Photograph("chelsea.png", (451, 300)),
    Photograph("coffee.png", (600, 400)),
    Photograph("hubble_deep_field.jpg", (1000, 872)),
    Photograph("ihc.png", (512, 512)),
    Photograph("motorcycle_left.png", (741, 500)),
    Photograph("retina.jpg", (1411, 1411), (216, 216, 1196, 1196)),  # the corners are black
    Photograph("rocket.jpg", (640, 427)),
)

# R3 sequence (M. Roberts 2018, the golden ratio in three dimensions): fractional parts of k * STEP fill the
# unit cube evenly for every number of points. 1.2207... is the positive root of x**4 = x + 1.
_ROOT = 1.2207440846057596
STEP = np.array([_ROOT**-1, _ROOT**-2, _ROOT**-3])


def load(spec: BundledPhotos) -> ImageSource:
    """Offer ``spec.images`` crops; crop i shows photograph i mod 8, window i div 8.

    Raises:
        VictimError: The installed package lacks one of the photographs, or has another one by its name.
    """
    labels = np.arange(spec.images, dtype=np.int64) % len(PHOTOGRAPHS)

    def read(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        photographs = [open_photograph(photograph) for photograph in PHOTOGRAPHS]
        return np.stack(
            [crop(photographs[i % len(PHOTOGRAPHS)], int(i) // len(PHOTOGRAPHS), spec.size) for i in index]
        )

    return ImageSource(
        labels=labels,
        read=read,
        num_classes=spec.num_classes,
        detail=f"{spec.size}x{spec.size} crops of the bundled photographs "
        + ", ".join(p.file for p in PHOTOGRAPHS),
        class_names=tuple(p.file.split(".")[0] for p in PHOTOGRAPHS)
        if spec.num_classes == len(PHOTOGRAPHS)
        else (),
    )


def open_photograph(photograph: Photograph) -> "Image.Image":
    """Read a photograph, or the part of it that crops are taken from.

    Raises:
        VictimError: It is missing, damaged, or not the one expected.
    """
    from PIL import Image

    path = FOLDER / photograph.file
    try:
        with path.open("rb") as stream:
            image = Image.open(stream)
            image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise VictimError(
            f"source bundled-photos: {path} cannot be read ({type(error).__name__}: {error}); install this "
            "package again"
        ) from error
    if image.mode != "RGB" or image.size != photograph.size:
        raise VictimError(
            f"source bundled-photos: {path} is {image.mode} {image.size}, RGB {photograph.size} is expected; install "
            "this package again"
        )
    return image.crop(photograph.box) if photograph.box else image


def window(number: int, width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """Place window ``number`` in a photograph: (left, top, right, bottom).

    Its side is between half and all of the photograph's shorter side, but never below ``size``, so that no
    crop is an enlargement. Window 0 is the middle.
    """
    u = (0.5 + number * STEP) % 1.0
    shorter = min(width, height)
    smallest = max(size, shorter // 2)
    side = smallest + int(u[0] * (shorter - smallest + 1))
    left = int(u[1] * (width - side + 1))
    top = int(u[2] * (height - side + 1))
    return left, top, left + side, top + side


def crop(photograph: "Image.Image", number: int, size: int) -> NDArray[np.uint8]:
    """Cut window ``number`` out of a photograph and scale it to uint8 (size, size, 3)."""
    from PIL import Image

    box = window(number, photograph.width, photograph.height, size)
    # Pillow's resize widens its filter when it shrinks, so nothing aliases; it works in integers.
    return np.asarray(photograph.crop(box).resize((size, size), Image.Resampling.BICUBIC))
