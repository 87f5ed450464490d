"""Victim set files: exact round trips, and every kind of damage reported by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dia.datasets.victim_set import VictimSet
from dia.errors import VictimError


def victim_set(**changes: Any) -> VictimSet:
    rng = np.random.default_rng(0)
    fields: dict[str, Any] = {
        "images": rng.integers(0, 256, (6, 12, 14, 3), dtype=np.uint8),
        "labels": np.array([0, 1, 2, 0, 1, 2]),
        "source_indices": np.arange(6) + 100,
        "mean": np.array([0.1, 0.2, 0.3], dtype=np.float32),
        "std": np.array([0.4, 0.5, 0.6], dtype=np.float32),
        "dataset": "mine",
        "source": "file",
        "source_detail": "mine.npz",
        "num_classes": 3,
        "class_names": ("a", "b", "c"),
    }
    return VictimSet(**{**fields, **changes})


def rewrite(path: Path, **changes: Any) -> None:
    """Replace arrays of a stored set; None removes one."""
    with np.load(path) as archive:
        arrays: dict[str, Any] = {**archive, **changes}
    np.savez(path, allow_pickle=True, **{k: v for k, v in arrays.items() if v is not None})


def test_round_trip(tmp_path: Path) -> None:
    saved = victim_set()
    saved.save(tmp_path / "set.npz")
    loaded = VictimSet.load(tmp_path / "set.npz")
    for name in ("images", "labels", "source_indices", "mean", "std"):
        assert getattr(loaded, name).dtype == getattr(saved, name).dtype
        assert np.array_equal(getattr(loaded, name), getattr(saved, name))
    for name in ("dataset", "source", "source_detail", "num_classes", "class_names", "sha256"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert loaded.shape == (3, 12, 14)
    assert len(loaded) == 6
    assert loaded.class_counts.tolist() == [2, 2, 2]


def test_same_set_gives_the_same_bytes(tmp_path: Path) -> None:
    victim_set().save(tmp_path / "a.npz")
    victim_set().save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_hash_sees_content_and_only_content() -> None:
    base = victim_set()
    pixels = base.images.copy()
    pixels[5, 11, 13, 2] ^= 1
    for changes in (
        {"images": pixels},
        {"labels": np.array([0, 1, 2, 0, 1, 1])},
        {"mean": base.mean + np.float32(1e-6)},
        {"num_classes": 4},
    ):
        assert victim_set(**changes).sha256 != base.sha256
    assert victim_set(dataset="yours", source_detail="elsewhere", class_names=()).sha256 == base.sha256


def test_arrays_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        victim_set().images[0] = 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((6, 12, 14, 3), np.float32)}, "images are float32; they must be uint8"),
        ({"images": np.zeros((6, 12, 14), np.uint8)}, "images have shape (6, 12, 14)"),
        ({"images": np.zeros((6, 12, 14, 2), np.uint8)}, "1 or 3 channels"),
        ({"images": np.zeros((0, 12, 14, 3), np.uint8)}, "n >= 1"),
        ({"labels": np.zeros(6)}, "labels are float64; they must be integers"),
        ({"labels": np.zeros(5, np.int64)}, "labels have shape (5,); it must be (6,)"),
        ({"labels": np.array([0, 1, 3, 0, -1, 2])}, "label 3 of image 2 is out of range (2 such label(s))"),
        ({"labels": np.zeros(6, np.int32)}, "labels is int32 (6,); it must be int64 (6,)"),
        ({"mean": np.zeros(1, np.float32)}, "mean is float32 (1,); it must be float32 (3,)"),
        ({"std": np.array([1, 0, 1], np.float32)}, "std positive"),
        ({"mean": np.array([1, np.nan, 1], np.float32)}, "must be finite"),
        ({"source_indices": np.zeros(3, np.int64)}, "source_indices is int64 (3,)"),
    ],
)
def test_unsound_sets_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(VictimError) as error:
        victim_set(**changes)
    assert message in str(error.value)
    assert "victim set mine" in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VictimError, match=r"set\.npz: no such file"):
        VictimSet.load(tmp_path / "set.npz")


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_truncated_file(tmp_path: Path, part: float) -> None:
    path = tmp_path / "set.npz"
    victim_set().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(VictimError, match=r"set\.npz: truncated, damaged or not an \.npz"):
        VictimSet.load(path)


def test_flipped_bit(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    victim_set().save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(VictimError, match="damaged"):
        VictimSet.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "no array 'images'; it holds"),
        ({"meta": None}, "no array 'meta'"),
        ({"meta": np.array("not json")}, "meta) must be JSON"),
        ({"meta": np.array(json.dumps({"dataset": "mine"}))}, "meta) must be JSON"),
        ({"meta": np.array("[1]")}, "meta) must be JSON"),
        ({"labels": np.array([None] * 6)}, "array 'labels' holds Python objects"),
        ({"labels": np.array([0, 1, 2, 0, 1, 9])}, "label 9 of image 5 is out of range"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "set.npz"
    victim_set().save(path)
    rewrite(path, **changes)
    with pytest.raises(VictimError) as error:
        VictimSet.load(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_single_array_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "set.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(VictimError, match="a single array"):
        VictimSet.load(tmp_path / "set.npz")


def test_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(path: Path, **arrays: Any) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="No space left"):
        victim_set().save(tmp_path / "set.npz")
    assert list(tmp_path.iterdir()) == []


def test_other_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VictimError, match=r"written to an \.npz file"):
        victim_set().save(tmp_path / "set.npy")
