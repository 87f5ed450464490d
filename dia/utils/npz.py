"""Read .npz files that may be damaged or foreign: whatever is wrong with them becomes one clear error."""

import math
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dia.errors import DiaError

Array = NDArray[Any]
SUFFIX = ".npy"
DEFLATE_RATIO = 1032
"""Most bytes that one byte of deflated data stands for (zlib's technical notes)."""


def read_npz(
    path: str | Path, required: tuple[str, ...] | None, *, what: str, error: type[DiaError]
) -> dict[str, Array]:
    """Read arrays from an .npz, in this machine's byte order and C order; pickled objects are never loaded.

    Nothing is allocated before the size that an array's header claims is known to be that of its data.

    Args:
        path: The file.
        required: Names of the arrays that must be there; others are not read. None reads all there are.
        what: What the file is to the user, for error messages, such as "victim set".
        error: The class of the error to raise.

    Raises:
        DiaError: As ``error``: the file is missing, truncated, not an .npz, or lacks an array or holds it twice,
            encrypted, pickled, or in a form that is no array.
    """
    path = Path(path)
    if not path.is_file():
        raise error(f"{what} {path}: no such file")
    try:
        with path.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                needed = f" with {_names(required)}" if required else ""
                raise error(f"{what} {path}: a single array (.npy); an .npz{needed} is needed")
        with zipfile.ZipFile(path) as archive:
            counts = Counter(info.filename for info in archive.infolist())
            if twice := [name for name, count in counts.items() if count > 1]:
                raise error(f"{what} {path}: holds {_names(twice)} more than once; write it again")
            held = [name.removesuffix(SUFFIX) for name in counts if name.endswith(SUFFIX)]
            if required is None and (foreign := [name for name in counts if not name.endswith(SUFFIX)]):
                raise error(f"{what} {path}: holds {_names(foreign)}, which is no array (.npy)")
            names = held if required is None else required
            if missing := [name for name in names if name not in held]:
                found = _names(name.removesuffix(SUFFIX) for name in counts) or "nothing"
                raise error(f"{what} {path}: no array {_names(missing)}; it holds {found}")
            return {name: _read_member(archive, name) for name in names}
    except _UnreadableArrayError as cause:
        raise error(f"{what} {path}: {cause}") from None
    except (
        OSError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        LookupError,
    ) as cause:
        raise error(
            f"{what} {path}: truncated, damaged or not an .npz of plain arrays "
            f"({type(cause).__name__}: {cause})"
        ) from cause


class _UnreadableArrayError(Exception):
    """The fault of one array of the archive."""


def _read_member(archive: zipfile.ZipFile, name: str) -> Array:
    """One array."""
    info = archive.getinfo(name + SUFFIX)
    if info.flag_bits & 1:
        raise _UnreadableArrayError(f"array {name!r} is encrypted; save it without a password")
    most = {zipfile.ZIP_STORED: info.compress_size, zipfile.ZIP_DEFLATED: info.compress_size * DEFLATE_RATIO}
    if info.compress_type not in most:
        raise _UnreadableArrayError(f"array {name!r} is compressed otherwise than numpy does; save it again")
    if info.file_size > most[info.compress_type] or info.compress_size > os.path.getsize(
        str(archive.filename)
    ):
        raise _UnreadableArrayError(
            f"array {name!r} claims {info.file_size} bytes, more than the file can hold: damaged"
        )
    with archive.open(info) as file:
        try:
            version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read_header(file)  # type: ignore[no-untyped-call]
        except (ValueError, KeyError) as error:
            if isinstance(error, KeyError):
                error = ValueError(f"version {version} of the format is for arrays with field names")
            raise _UnreadableArrayError(f"array {name!r} is not in numpy's format (.npy): {error}") from None
        if dtype.hasobject:
            raise _UnreadableArrayError(
                f"array {name!r} holds Python objects (pickled); save plain numbers or text"
            )
        if dtype.names is not None:
            raise _UnreadableArrayError(
                f"array {name!r} has fields {_names(dtype.names)}; save one array for each"
            )
        claimed, there = math.prod(shape) * dtype.itemsize, info.file_size - file.tell()
        if any(length < 0 for length in shape) or claimed != there:
            raise _UnreadableArrayError(
                f"array {name!r} claims {dtype} {shape}, {claimed} bytes, and has {there}: truncated or damaged"
            )
    with archive.open(info) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)  # type: ignore[no-untyped-call]
        if file.read(1):  # the end, where the checksum is compared
            raise _UnreadableArrayError(f"array {name!r} is longer than it claims: damaged")
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
