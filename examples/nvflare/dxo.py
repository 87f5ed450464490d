"""Read the DXO file that an NVIDIA FLARE client wrote, without running anything of it.

``DXO.to_file`` writes FOBS: a header of ten bytes (marker, datum type, size of what follows), then msgpack, in which
every object is a mapping of ``__fobs_type__``, ``__fobs_data__`` and ``__fobs_dc__``, the class that would decode it.
FLARE's own reader imports that class by the name in the file; this one takes numpy arrays alone, from their ``.npy``
form.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from dia.errors import UpdateError

HEADER = struct.Struct(">BBQ")
MARKER = ord("d")
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
        content = path.read_bytes()
        marker, _, size = HEADER.unpack_from(content)
        if marker != MARKER or size != len(content) - HEADER.size:
            raise ValueError("no FOBS header, or another length than it says")
        dxo = msgpack.unpackb(content[HEADER.size :], strict_map_key=False)["__fobs_data__"]["data"]
        kind, data, meta = dxo["data_kind"], dxo["data"], dxo.get("meta") or {}
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
    return Update(KINDS[kind], {name: _array(value, f"{path}: {name}") for name, value in data.items()}, meta)


def _array(value: Any, what: str) -> np.ndarray:
    """One array from its FOBS form."""
    try:
        native = value["__fobs_data__"]
        if value["__fobs_type__"] != "numpy.ndarray" or native["type"] != "native":
            raise ValueError(f"a {value['__fobs_type__']}")
        return np.load(io.BytesIO(native["data"]), allow_pickle=False)
    except (KeyError, TypeError, ValueError, EOFError) as error:
        raise UpdateError(f"{what} is not a plain array ({error}); let clients send numpy arrays") from error
