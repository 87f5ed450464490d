"""The images of a source: all labels at once, the images themselves on request."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ImageSource:
    """All images of a source, not yet selected.

    Labels are at hand and images are read on request, so a source of a million photographs costs no more than
    the victims taken from it.

    Attributes:
        labels: Class of each image, integers (n,), in the order of the source.
        read: Given positions int64 (k,), returns those images, uint8 (k, H, W, C).
        num_classes: Number of classes of the dataset.
        detail: What exactly the source is, in words; no machine paths.
        class_names: One name per class, or empty.
    """

    labels: NDArray[Any]
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]]
    num_classes: int
    detail: str
    class_names: tuple[str, ...] = ()
