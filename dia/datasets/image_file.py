"""One image file as 8-bit colour, exactly, or a refusal that says what it holds and what to do.

Pillow's own conversion to colour clips 16-bit grey levels to white and floating-point ones to black, and drops alpha,
CMYK profiles and all frames but the first without a word.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dia.errors import VictimError

if TYPE_CHECKING:
    from PIL.Image import Image

EXACT = ("RGB", "L", "1")
"""Pillow modes that have 8 bits a channel or fewer, and no alpha."""
DEEP = ("I;16", "I;16B", "I;16L", "I;16N")
"""Grey with 16 bits, which is scaled by 255 / 65535 and rounded."""


def read_image(path: Path, what: str) -> "Image":
    """Read an image as RGB, 8 bits a channel.

    Grey levels of 16 bits are scaled; a palette, grey, black and white are spelt out as they are.

    Args:
        path: The file.
        what: What the error names as the reader, such as ``source imagenet``.

    Raises:
        VictimError: The file is damaged or no image, or it holds what has no exact 8-bit colours: transparency,
            floating-point or 32-bit numbers, CMYK or another colour space, several frames, 16 bits of colour.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            file.load()
            if (frames := getattr(file, "n_frames", 1)) > 1:
                raise VictimError(_refused(what, path, f"has {frames} frames", "keep one"))
            return _as_rgb(file, path, what)
    # What Pillow's readers raise on damaged files, from its own to those of struct and zlib
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, Image.DecompressionBombError) as error:
        raise VictimError(f"{what}: {path} is damaged or not an image ({error}); replace it") from error


def _as_rgb(image: "Image", path: Path, what: str) -> "Image":
    from PIL import Image

    if image.mode in DEEP or (image.mode == "I" and image.format == "PNG"):  # older Pillow opens 16-bit PNG as I
        levels = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.rint(levels * (255 / 65535)).astype(np.uint8))
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if transparent and _opacity(image) < 255:
        raise VictimError(_refused(what, path, "is transparent in places", "put it on a background"))
    if transparent:
        image = image.convert("RGBA")  # opaque everywhere: nothing is lost with it
    elif image.mode not in (*EXACT, "P"):
        kinds = {"F": "floating-point numbers", "I": "32-bit numbers", "CMYK": "CMYK colours"}
        held = kinds.get(image.mode, f"colours of mode {image.mode}")
        raise VictimError(_refused(what, path, f"holds {held}, which have no exact 8-bit RGB", "convert it"))
    if _bits(path, image) > 8 and image.mode != "L":
        raise VictimError(_refused(what, path, "holds colours of 16 bits, which Pillow would cut", "convert it"))
    return image.convert("RGB")
