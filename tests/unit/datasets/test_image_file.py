"""Image files of every depth and kind: read as they are, or refused by what they hold."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dia.datasets.image_file import read_image
from dia.errors import VictimError

RAMP = np.tile(np.linspace(0, 1, 64), (64, 1))
LEVELS = (RAMP * 65535).astype(np.uint16)
COLOURS = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
RGB = Image.fromarray(COLOURS)
GREY = RGB.convert("L")


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG by its specification (sections 5 and 11), whatever Pillow can write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    transparency = chunk(b"tRNS", extra) if extra else b""
    body = chunk(b"IHDR", header) + transparency + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def deep_png(colour_type: int, channels: int, extra: bytes = b"") -> bytes:
    """4 x 4 pixels of 16 bits a channel."""
    values = np.arange(16 * channels, dtype=">u2").reshape(4, -1) * 1000
    return png(4, 4, 16, colour_type, b"".join(b"\0" + row.tobytes() for row in values), extra)


def read(path: Path) -> np.ndarray:
    image = read_image(path, "source x")
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(LEVELS).save(tmp_path / f"a.{suffix}")
    expected = np.array([[round(int(v) * 255 / 65535) for v in row] for row in LEVELS])
    assert np.array_equal(read(tmp_path / f"a.{suffix}"), np.stack([expected] * 3, -1))


def test_sixteen_bit_pnm_is_scaled(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">HH", 32768, 65535))
    assert read(tmp_path / "a.ppm")[0, :, 0].tolist() == [128, 255]


@pytest.mark.parametrize(
    ("image", "suffix"),
    [
        (RGB, "png"),
        (RGB, "bmp"),
        (RGB, "tif"),
        (GREY, "png"),
        (GREY, "tif"),
        (RGB.quantize(16), "png"),
        (RGB.quantize(256), "tif"),
        (GREY.convert("1"), "png"),
        (RGB.convert("RGBA"), "png"),
        (GREY.convert("LA"), "png"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.mode,
)
def test_eight_bits_or_fewer_are_read_as_they_are(tmp_path: Path, image: Image.Image, suffix: str) -> None:
    image.save(tmp_path / f"a.{suffix}")
    assert np.array_equal(read(tmp_path / f"a.{suffix}"), np.asarray(image.convert("RGB")))


def test_four_bit_grey_is_spread(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(2, 1, 4, 0, b"\0\x3f"))
    assert read(tmp_path / "a.png")[0, :, 0].tolist() == [3 * 17, 15 * 17]


def half_transparent() -> Image.Image:
    image = RGB.convert("RGBA")
    image.putpixel((0, 0), (1, 2, 3, 254))
    return image


def frames(path: Path) -> None:
    RGB.save(path, save_all=True, append_images=[RGB.rotate(180)])


REFUSED: list[tuple[str, Callable[[Path], object], str]] = [
    ("a.png", lambda path: half_transparent().save(path), "has transparent pixels"),
    ("a.webp", lambda path: half_transparent().save(path, lossless=True), "has transparent pixels"),
    (
        "a.png",
        lambda path: GREY.save(path, transparency=int(np.asarray(GREY)[0, 0])),
        "has transparent pixels",
    ),
    ("a.png", lambda path: RGB.quantize(4).save(path, transparency=0), "has transparent pixels"),
    ("a.png", lambda path: path.write_bytes(deep_png(0, 1, b"\0\0")), "has transparent pixels"),
    ("a.tif", lambda path: Image.fromarray(RAMP.astype(np.float32)).save(path), "has floating-point numbers"),
    ("a.tif", lambda path: Image.fromarray(LEVELS.astype(np.int32)).save(path), "has 32-bit numbers"),
    ("a.tif", lambda path: RGB.convert("CMYK").save(path), "has CMYK colours"),
    ("a.jpg", lambda path: RGB.convert("CMYK").save(path), "has CMYK colours"),
    ("a.tif", lambda path: RGB.convert("LAB").save(path), "has colours of the mode LAB"),
    (
        "a.png",
        lambda path: path.write_bytes(deep_png(2, 3)),
        "has colours of 16 bits, which Pillow would cut",
    ),
    ("a.png", frames, "has 2 frames; save one"),
    ("a.tif", frames, "has 2 frames; save one"),
    ("a.webp", frames, "has 2 frames; save one"),
    ("a.png", lambda path: path.write_bytes(b"text"), "is damaged or not an image"),
    ("a.png", lambda path: path.write_bytes(deep_png(0, 1)[:60]), "is damaged or not an image"),
    ("a.png", lambda path: path.mkdir(), "is damaged or not an image"),
]


@pytest.mark.parametrize(("name", "make", "message"), REFUSED, ids=[f"{n}-{m}" for n, _, m in REFUSED])
def test_what_has_no_exact_eight_bits_is_refused(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(VictimError) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"source x: {tmp_path / name} {message}")
