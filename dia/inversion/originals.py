"""The private images of a client, where somebody has them: only then can an attack be scored."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dia.errors import VictimError
from dia.utils.npz import read_npz


def read_originals(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The private images (N, C, H, W) in [0, 1], from the array ``images`` of an .npz.

    Args:
        path: The file; images as pixels in [0, 1], or uint8.
        shape: (N, C, H, W).

    Raises:
        VictimError: The file is damaged, or holds other images.
    """
    images = read_npz(path, ("images",), what="originals", error=VictimError)["images"]
    if images.shape != shape:
        raise VictimError(f"originals {path}: images of shape {images.shape}; expected {shape}")
    if images.dtype == np.uint8:
        images = images / 255
    if not (
        np.issubdtype(images.dtype, np.floating)
        and np.isfinite(images).all()
        and images.min() >= 0
        and images.max() <= 1
    ):
        raise VictimError(
            f"originals {path}: {images.dtype} from {images.min():g} to {images.max():g}; expected uint8, or "
            "floating-point pixels in [0, 1]"
        )
    return images.astype(np.float32)
