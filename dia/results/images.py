"""Images as PNG for viewers, and as the flat float32 arrays of a row."""

import io
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


def picture_columns(original: np.ndarray, reconstruction: np.ndarray | None) -> dict[str, Any]:
    """The picture columns of one row.

    Args:
        original: Private images (N, C, H, W) in [0, 1].
        reconstruction: The same shape, matched to the originals; None where there is none.

    Raises:
        RecordError: The shapes differ, or values are not images in [0, 1].
    """
    original = np.asarray(original, np.float32)
    columns = {
        "image_shape": list(original.shape),
        "original": original.ravel(),
        "original_png": png_list(original),
    }
    if reconstruction is None:
        return columns | {"reconstruction": None, "reconstruction_png": None}
    reconstruction = np.asarray(reconstruction, np.float32)
    if original.shape != reconstruction.shape or original.ndim != 4:
        raise RecordError(
            f"shapes {original.shape} and {reconstruction.shape}: expected the same (N, C, H, W)"
        )
    return columns | {
        "reconstruction": reconstruction.ravel(),
        "reconstruction_png": png_list(reconstruction),
    }
