"""Python values to Arrow arrays, strictly and without pandas.

``pyarrow.array`` and ``pyarrow.scalar`` import pandas when it is installed (half a second of every cell's
process) and cut 2.5 to 2 without a word where integers are wanted, so arrays are built from NumPy buffers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

# Not DataType.to_pandas_dtype, which imports pandas.
_DTYPES: dict[pa.DataType, str] = {
    pa.bool_(): "?",
    pa.int32(): "i4",
    pa.int64(): "i8",
    pa.float32(): "f4",
    pa.float64(): "f8",
}


def arrow_array(values: Sequence[Any], field: pa.Field) -> pa.Array:
    """Build the column ``field`` from one value per row; None is a missing value.

    Raises:
        ValueError: A value is missing where the field has to have one, is of another kind, or does not fit.
    """
    present = np.array([value is not None for value in values], dtype=bool)
    if not field.nullable and not present.all():
        raise ValueError(f"no value in row {int(np.argmin(present))}")
    return _array(values, field.type, present)


def _array(values: Sequence[Any], kind: pa.DataType, present: np.ndarray) -> pa.Array:
    """Lay ``values`` out as Arrow does: validity bits, then offsets where lengths vary, then the content."""
    validity = None if present.all() else _bits(present)
    if pa.types.is_list(kind):
        rows = [() if value is None else _entries(value) for value in values]
        child = _array(_joined(rows), kind.value_type, np.ones(sum(map(len, rows)), dtype=bool))
        return pa.Array.from_buffers(kind, len(rows), [validity, _offsets(rows)], children=[child])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        texts = [_encoded(value, str if pa.types.is_string(kind) else bytes) for value in values]
        content = [validity, _offsets(texts), pa.py_buffer(b"".join(texts))]
        return pa.Array.from_buffers(kind, len(texts), content)
    numbers = _numbers(values, np.dtype(_DTYPES[kind]))
    content = _bits(numbers) if pa.types.is_boolean(kind) else pa.py_buffer(np.ascontiguousarray(numbers))
    return pa.Array.from_buffers(kind, len(numbers), [validity, content])


def _bits(flags: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little").tobytes())


def _offsets(parts: Sequence[Any]) -> pa.Buffer:
    """The offsets at which each part begins, and at which the last one ends."""
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    if offsets[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"{offsets[-1]} entries in one column, more than 2^31")
    return pa.py_buffer(offsets.astype(np.int32))


def _entries(value: Any) -> Any:
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return value
    raise ValueError(f"{value!r:.60} is not a list")


def _joined(rows: Sequence[Any]) -> Any:
    """The entries of all rows in one sequence; an empty row has no say in their kind."""
    if any(isinstance(row, np.ndarray) for row in rows):
        return np.concatenate([row for row in rows if len(row)] or [np.empty(0)])
    return [entry for row in rows for entry in row]


def _encoded(value: Any, wanted: type[str] | type[bytes]) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, wanted):
        raise ValueError(f"{value!r:.60} is not {wanted.__name__}")
    return value.encode() if isinstance(value, str) else value


def _numbers(values: Any, dtype: np.dtype) -> np.ndarray:
    """Values (None as zero) as ``dtype``; integers and flags must fit exactly, floats may be rounded."""
    if not isinstance(values, np.ndarray):
        values = np.asarray([dtype.type(0) if value is None else value for value in values])
    if values.size == 0:
        return np.empty(0, dtype)
    allowed = {"b": "b", "i": "iu", "f": "iuf"}[dtype.kind]
    if values.ndim != 1 or values.dtype.kind not in allowed:
        raise ValueError(f"{values[:4]} of kind {values.dtype} is not a column of {dtype}")
    if dtype.kind == "i":
        limits = np.iinfo(dtype)
        if not (limits.min <= values.min() and values.max() <= limits.max):
            raise ValueError(f"values in [{values.min()}, {values.max()}] do not fit {dtype}")
    return values.astype(dtype)
