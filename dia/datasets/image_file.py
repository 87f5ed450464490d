"""One image file as 8-bit colour, exactly, or a refusal that says what it holds and what to do.

Pillow's own conversion to colour clips 16-bit grey levels to white and floating-point ones to black, and drops alpha,
CMYK profiles and all frames but the first without a word.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dia.errors import VictimError

if TYPE_CHECKING:
    from PIL.Image import Image

EIGHT_BITS = ("RGB", "L", "P", "1")
"""Pillow modes of 8 bits a channel or fewer, without alpha."""
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
"""Pillow modes of 16-bit grey."""


def read_image(path: Path, what: str) -> "Image":
    """Read an image as RGB, 8 bits a channel; 16-bit grey is scaled by 255 / 65535 and rounded.

    Args:
        path: The file.
        what: Who reads it, for errors, such as ``source imagenet``.

    Raises:
        VictimError: The file is damaged or no image, or has no exact 8-bit RGB: transparency, several frames, 16-bit
            colour, floating-point or 32-bit grey, CMYK or another colour space.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            raw_modes = [_raw_mode(tile) for tile in file.tile]
            frames = getattr(file, "n_frames", 1)
            file.load()
            image = file.copy()
            image.format = file.format
    # What Pillow's readers raise on damaged files, their own errors and those of struct and zlib
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        LookupError,
        TypeError,
        Image.DecompressionBombError,
    ) as error:
        raise VictimError(f"{what}: {path} is damaged or not an image ({error}); replace it") from error
    if frames > 1:
        raise VictimError(f"{what}: {path} has {frames} frames; save one of them as an image of its own")
    if problem := _obstacle(image, raw_modes):
        raise VictimError(f"{what}: {path} has {problem}; convert it to 8-bit RGB or grey")
    if _is_deep(image):
        levels = np.rint(np.asarray(image).astype(np.float64) * (255 / 65535))
        image = Image.fromarray(levels.astype(np.uint8))
    if _may_be_transparent(image):
        image = image.convert("RGBA")  # opaque, so that nothing is lost with it
    return image.convert("RGB")


def _raw_mode(tile: Any) -> str:
    """The raw mode in which a decoder unpacks a file, such as ``RGB;16B``."""
    arguments = tile[3]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _is_deep(image: "Image") -> bool:
    """Tell whether it is 16-bit grey; Pillow opens such a PNM, and older versions such a PNG, as 32-bit numbers."""
    return image.mode in SIXTEEN_BITS or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _may_be_transparent(image: "Image") -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _obstacle(image: "Image", raw_modes: Sequence[str]) -> str | None:
    """The reason why an image has no exact 8-bit RGB; None where it has."""
    if any(";12" in mode for mode in raw_modes):
        return "grey levels of 12 bits"
    if _may_be_transparent(image):
        if _is_deep(image) or np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
            return "transparent pixels"
    elif image.mode not in EIGHT_BITS and not _is_deep(image):
        kinds = {"F": "floating-point numbers", "I": "32-bit numbers", "CMYK": "CMYK colours"}
        return kinds.get(image.mode, f"colours of the mode {image.mode}")
    if not _is_deep(image) and any(re.search(";16[BLN]", mode) for mode in raw_modes):
        return "colours of 16 bits, which Pillow would cut"
    return None
