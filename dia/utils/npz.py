"""Read .npz files of others: every way in which they can be damaged becomes one clear error."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dia.errors import VictimError

Array = NDArray[Any]


def read_npz(path: str | Path, required: tuple[str, ...], *, what: str) -> dict[str, Array]:
    """Read the arrays ``required`` from an .npz; pickled objects are never loaded.

    Args:
        path: The file.
        required: Names of the arrays that must be there; others are not read.
        what: What the file is to the user, for error messages, such as "victim set".

    Raises:
        VictimError: The file is missing, truncated, not an .npz, or lacks an array or holds it pickled.
    """
    path = Path(path)
    if not path.is_file():
        raise VictimError(f"{what} {path}: no such file")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise VictimError(
                f"{what} {path}: a single array (.npy); an .npz with {_names(required)} is needed"
            )
        with loaded as archive:
            missing = [name for name in required if name not in archive.files]
            if missing:
                found = _names(archive.files) or "nothing"
                raise VictimError(f"{what} {path}: no array {_names(missing)}; it holds {found}")
            return {name: archive[name] for name in required}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise VictimError(
            f"{what} {path}: truncated, damaged or not an .npz of plain arrays "
            f"({type(error).__name__}: {error})"
        ) from error


def read_names(path: str | Path, *, what: str) -> tuple[str, ...]:
    """Names of the arrays in an .npz.

    Raises:
        VictimError: The file is missing, truncated or not an .npz.
    """
    if not Path(path).is_file():
        raise VictimError(f"{what} {path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise VictimError(f"{what} {path}: truncated, damaged or not an .npz ({error})") from error


def _names(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(repr(name) for name in names)
