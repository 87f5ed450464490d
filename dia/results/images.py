"""Images as PNG for viewers, and as the flat float32 arrays of a row."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from dia.errors import RecordError


def png_bytes(image: np.ndarray) -> bytes:
    """Encode one image as PNG, rounding to 8 bits.

    Args:
        image: (C, H, W) in [0, 1], C = 1 (grey) or 3 (RGB).

    Raises:
        RecordError: Another shape, or values that are not finite or outside [0, 1].
    """
    from PIL import Image

    image = np.asarray(image)
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise RecordError(f"an image of shape {image.shape} cannot be a PNG: expected (1, H, W) or (3, H, W)")
    # Written so that a NaN fails it too.
    if not (image.min() >= 0 and image.max() <= 1):
        raise RecordError(
            f"image values in [{image.min():g}, {image.max():g}]: expected finite values in [0, 1]"
        )
    pixels = np.round(image * 255).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def png_list(images: np.ndarray) -> list[bytes]:
    """Encode images (N, C, H, W) in [0, 1] as N PNG files, see ``png_bytes``."""
    return [png_bytes(image) for image in images]


def picture_columns(
    shape: Sequence[int], original: np.ndarray | None, reconstruction: np.ndarray | None
) -> dict[str, Any]:
    """The picture columns of one row.

    Args:
        shape: (N, C, H, W) of both.
        original: Private images in [0, 1]; None where nobody has them.
        reconstruction: Likewise, matched to the originals; None where there is none.

    Raises:
        RecordError: An array has another shape, or values are not images in [0, 1].
    """
    columns: dict[str, Any] = {"image_shape": list(shape)}
    for name, images in (("original", original), ("reconstruction", reconstruction)):
        if images is None:
            columns |= {name: None, f"{name}_png": None}
            continue
        images = np.asarray(images, np.float32)
        if images.shape != tuple(shape) or images.ndim != 4:
            raise RecordError(f"{name} of shape {images.shape}: expected (N, C, H, W) = {tuple(shape)}")
        columns |= {name: images.ravel(), f"{name}_png": png_list(images)}
    return columns
