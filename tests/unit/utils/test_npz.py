"""Reading an .npz: every fault is one error of the class that the caller asked for."""

import struct
import warnings
import zipfile
from pathlib import Path
from typing import Literal

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
    with pytest.raises(ModelError, match="array 'a' holds Python objects"):
        read(tmp_path / "x.npz")


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(2))
    with pytest.raises(ModelError, match=r"a single array \(\.npy\); an \.npz with 'a' is needed"):
        read(tmp_path / "x.npy")


def member(path: Path, content: bytes, name: str = "a.npy", mode: Literal["w", "a"] = "w") -> Path:
    """Write a member of these bytes into an .npz."""
    with zipfile.ZipFile(path, mode) as archive:
        archive.writestr(name, content)
    return path


def header(shape: str, dtype: str = "<f8", data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            header(f"({10**18},)"),
            f"array 'a' claims float64 ({10**18},), {8 * 10**18} bytes, and has 0: truncated",
        ),
        (header(f"({10**30}, 3)"), "truncated or damaged"),
        (header("(3,)", data=b"12345678"), "claims float64 (3,), 24 bytes, and has 8: truncated or damaged"),
        (header("(1,)", data=b"1234567812345678"), "8 bytes, and has 16: truncated or damaged"),
        (header("(-1,)", data=b""), "truncated or damaged"),
        (header("(0,)", "|O"), "array 'a' holds Python objects (pickled); save plain numbers or text"),
        (header("(0,)", version=b"\x09\0"), "array 'a' is not in numpy's format (.npy): "),
        (header("[1]", data=b"12345678"), "array 'a' is not in numpy's format (.npy): "),
        (header("(1,)", "no type"), "array 'a' is not in numpy's format (.npy): "),
        (b"some text", "array 'a' is not in numpy's format (.npy): "),
        (b"", "array 'a' is not in numpy's format (.npy): "),
    ],
)
def test_members_that_are_no_arrays_are_refused_before_anything_is_allocated(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = member(tmp_path / "x.npz", content)
    with pytest.raises(ModelError) as caught:
        read(path)
    assert message in str(caught.value)


def test_arrays_with_fields_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(2, dtype=[("x", "f4"), ("y", "i4")]))
    with pytest.raises(ModelError, match="array 'a' has fields 'x', 'y'; save one array for each"):
        read(tmp_path / "x.npz")


def test_encrypted_members_are_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    local, central = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    content[local + 6] |= 1  # the flag, as the format of ZIP files has it
    content[central + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="array 'a' is encrypted; save it without a password"):
        read(path)


def test_an_archive_that_claims_more_than_it_can_hold_is_refused(path: Path) -> None:
    np.savez_compressed(path, a=np.zeros(10**6))  # the best that deflate can do
    assert read(path)["a"].sum() == 0
    content = bytearray(member(path, header(f"({2**28},)")).read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 24 : central + 28] = struct.pack("<I", 2**31 + 128)
    path.write_bytes(content)
    with pytest.raises(
        ModelError, match="array 'a' claims 2147483776 bytes, more than the file can hold: damaged"
    ):
        read(path)


def test_other_compressions_are_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", header("(1,)", data=b"12345678"))
    with pytest.raises(ModelError, match="array 'a' is compressed otherwise than numpy does; save it again"):
        read(path)


def test_doubled_and_foreign_members_are_refused(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        member(path, header("(0,)"), "b.npy", "a")
    with pytest.raises(ModelError, match=r"holds 'b\.npy' more than once; write it again"):
        read(path)
    np.savez(path, a=np.ones(2))
    member(path, b"text", "notes.txt", "a")
    assert read(path)["a"].tolist() == [1, 1], "what is not asked for does not matter"
    with pytest.raises(ModelError, match=r"holds 'notes\.txt', which is no array"):
        read(path, None)
    with pytest.raises(ModelError, match=r"no array 'notes\.txt'; it holds 'a', 'notes\.txt'"):
        read(path, ("notes.txt",))


def test_every_order_of_bytes_and_axes_is_read_as_this_machine_has_it(tmp_path: Path) -> None:
    value = np.arange(24, dtype=">i4").reshape(2, 3, 4)
    np.savez_compressed(
        tmp_path / "x.npz", a=np.asfortranarray(value), b=np.array(3.5, dtype=">f8"), c=np.array("é")
    )
    arrays = read(tmp_path / "x.npz", None)
    assert arrays["a"].dtype == np.dtype("int32")
    assert arrays["a"].dtype.isnative
    assert arrays["a"].flags.c_contiguous
    assert arrays["a"].tolist() == value.tolist()
    assert (arrays["b"].shape, float(arrays["b"]), str(arrays["c"])) == ((), 3.5, "é")
