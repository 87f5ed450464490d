"""Reading an .npz: every fault is one error of the class that the caller asked for."""

from pathlib import Path

import numpy as np
import pytest

from dia.errors import GoldenError, ModelError
from dia.utils.npz import read_npz


def read(path: Path, required: tuple[str, ...] | None = ("a",)) -> dict[str, np.ndarray]:
    return read_npz(path, required, what="the file", error=ModelError)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", a=np.arange(1000), b=np.ones(2))
    return tmp_path / "x.npz"


def test_only_what_is_required_is_read_or_everything(path: Path) -> None:
    assert list(read(path)) == ["a"]
    assert read(path)["a"].tolist() == list(range(1000))
    assert sorted(read(path, None)) == ["a", "b"]


def test_the_error_is_of_the_class_asked_for(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match=r"the file .*absent\.npz: no such file"):
        read_npz(tmp_path / "absent.npz", None, what="the file", error=GoldenError)


def test_a_missing_array_is_named_with_those_there(path: Path) -> None:
    with pytest.raises(ModelError, match="no array 'c'; it holds 'a', 'b'"):
        read(path, ("a", "c"))


def test_truncated_flipped_and_foreign_files_are_refused(path: Path) -> None:
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for damaged in (b"", content[:10], content[:-30], bytes(flipped), b"text"):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match="truncated, damaged or not"):
            read(path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ModelError, match="truncated, damaged or not"):
        read(tmp_path / "x.npz")


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(2))
    with pytest.raises(ModelError, match=r"a single array \(\.npy\); an \.npz with 'a' is needed"):
        read(tmp_path / "x.npy")
