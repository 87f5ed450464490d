"""Read the DXO file that an NVIDIA FLARE client wrote, without running anything of it.

``DXO.to_file`` writes FOBS in sections, each with a header of ten bytes (marker, datum type, size of what follows).
The first is msgpack, in which every object is a mapping of ``__fobs_type__``, ``__fobs_data__`` and ``__fobs_dc__``,
the class that would decode it. Arrays of 10 MB and more are references to the sections behind it, which begin with
their number. A running federation writes a DXO as the tuple (kind, meta, data), a script without one as the mapping of
its attributes.
FLARE's own reader imports that class by the name in the file; this one takes numpy arrays alone, from their ``.npy``
form.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import msgpack
import numpy as np

from dia.errors import UpdateError

HEADER = struct.Struct(">BBQ")
MAIN, BLOB = 100, 102
"""Markers of the first section and of large bytes."""
KINDS = {"WEIGHTS": "weights", "WEIGHT_DIFF": "difference"}
"""FLARE's data kind -> what dia.invert calls it; a FLARE difference is after minus before."""


@dataclass(frozen=True)
class Update:
    """The update of one client.

    Attributes:
        kind: ``weights`` or ``difference``.
        arrays: By name.
        meta: Such as ``NUM_STEPS_CURRENT_ROUND``.
    """

    kind: str
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def read_dxo(path: str | Path) -> Update:
    """Read a client's DXO.

    Raises:
        UpdateError: The file is damaged, foreign, or holds something else than weights or their difference.
    """
    path = Path(path)
    try:
        main, blobs = _sections(path.read_bytes())
        dxo = msgpack.unpackb(main, strict_map_key=False)["__fobs_data__"]
        if "data" in dxo:
            kind, meta, data = (dxo["data"].get(name) for name in ("data_kind", "meta", "data"))
        else:
            kind, meta, data = dxo["__fobs_data__"]
        data, meta = dict(data), dict(meta or {})
    except (OSError, struct.error, ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
        raise UpdateError(
            f"{path}: truncated, damaged or not a DXO file ({type(error).__name__}: {error})"
        ) from error
    kind = kind["__fobs_data__"] if isinstance(kind, dict) else kind
    if kind not in KINDS:
        raise UpdateError(f"{path}: a DXO of kind {kind}; {' or '.join(KINDS)} is needed")
    if history := meta.get("filter_history"):
        raise UpdateError(
            f"{path}: filtered on the client ({history}); the attack assumes what training gave"
        )
    arrays = {name: _array(value, blobs, f"{path}: {name}") for name, value in data.items()}
    return Update(KINDS[kind], arrays, meta)


def _sections(content: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The first section, and those behind it by number.

    Raises:
        ValueError: They are no FOBS sections, or end early.
    """
    main, blobs, position = b"", dict[str, bytes](), 0
    while position < len(content) or not position:
        marker, _, size = HEADER.unpack_from(content, position)
        section = content[position + HEADER.size : position + HEADER.size + size]
        if marker != (BLOB if position else MAIN) or len(section) != size:
            raise ValueError("no FOBS header, or another length than it says")
        if position:
            blobs[str(UUID(bytes=section[:16]))] = section[16:]
        else:
            main = section
        position += HEADER.size + size
    return main, blobs


def _array(value: Any, blobs: dict[str, bytes], what: str) -> np.ndarray:
    """One array from its FOBS form."""
    try:
        native = value["__fobs_data__"]
        if value["__fobs_type__"] != "numpy.ndarray" or native["type"] != "native":
            raise ValueError(f"a {value['__fobs_type__']}")
        data = native["data"]
        if isinstance(data, dict):
            data = blobs[data["__fobs_data__"]["data"]["datum_id"]]
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (KeyError, TypeError, ValueError, EOFError) as error:
        raise UpdateError(f"{what} is not a plain array ({error}); let clients send numpy arrays") from error
