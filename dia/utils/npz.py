"""Read .npz files that may be damaged or foreign: whatever is wrong with them becomes one clear error."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dia.errors import DiaError

Array = NDArray[Any]


def read_npz(
    path: str | Path, required: tuple[str, ...] | None, *, what: str, error: type[DiaError]
) -> dict[str, Array]:
    """Read arrays from an .npz; pickled objects are never loaded.

    Args:
        path: The file.
        required: Names of the arrays that must be there; others are not read. None reads all there are.
        what: What the file is to the user, for error messages, such as "victim set".
        error: The class of the error to raise.

    Raises:
        DiaError: As ``error``: the file is missing, truncated, not an .npz, lacks an array or holds it pickled.
    """
    path = Path(path)
    if not path.is_file():
        raise error(f"{what} {path}: no such file")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            needed = f" with {_names(required)}" if required else ""
            raise error(f"{what} {path}: a single array (.npy); an .npz{needed} is needed")
        with loaded as archive:
            names = archive.files if required is None else required
            missing = [name for name in names if name not in archive.files]
            if missing:
                found = _names(archive.files) or "nothing"
                raise error(f"{what} {path}: no array {_names(missing)}; it holds {found}")
            arrays = {name: archive[name] for name in names}
            if foreign := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
                raise ValueError(f"{_names(foreign)}: no array")  # numpy hands other members out as bytes
            return arrays
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as cause:
        raise error(
            f"{what} {path}: truncated, damaged or not an .npz of plain arrays "
            f"({type(cause).__name__}: {cause})"
        ) from cause


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
