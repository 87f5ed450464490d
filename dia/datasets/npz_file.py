"""Source ``file``: the user's own images in an .npz."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from dia.datasets.source import ImageSource
from dia.datasets.specs import File
from dia.datasets.victim_set import check_images, check_labels
from dia.errors import VictimError
from dia.utils.npz import read_npz
from dia.utils.paths import expanded


def load(spec: File) -> ImageSource:
    """Read ``images`` uint8 (n, H, W, C) or (n, H, W) and ``labels`` integers (n,), nothing else.

    Raises:
        VictimError: The file is missing, truncated, lacks an array, or holds a wrong shape, dtype or label.
    """
    path = expanded(spec.path)
    what = f"source file {path}"
    arrays = read_npz(path, ("images", "labels"), what="source file", error=VictimError)
    images = arrays["images"]
    if images.ndim == 3:
        images = images[..., np.newaxis]
    check_images(images, what)
    check_labels(arrays["labels"], len(images), spec.num_classes, what)

    def read(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        return images[index]

    return ImageSource(
        labels=arrays["labels"],
        read=read,
        num_classes=spec.num_classes,
        detail=f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}",
    )
