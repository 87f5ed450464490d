"""Parts of arrays that a processor's cache holds: several passes over one part, then over the next part."""

from collections.abc import Iterator
from itertools import repeat

from torch import Tensor

BLOCK = 2**15
"""Entries at a time: some ten arrays of so many stay in a core's second cache."""


def blocks(*arrays: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of the same part of several arrays, part after part; of the first, (V, D), all parts together.

    A part has several whole rows, or one row or a piece of it: how a row is cut depends on D alone, so what is summed
    over a row does not depend on the other victims. A GPU, which has no use for blocks, gets everything at once.

    Args:
        arrays: (V, ..., D) each. Of a vector (D,) a part has its columns, of other sizes (V, ...) its rows.
    """
    victims, entries = arrays[0].shape
    if arrays[0].device.type != "cpu":
        yield arrays
        return
    high, wide = max(1, BLOCK // max(1, entries)), max(1, min(entries, BLOCK))
    for row in range(0, victims, high):
        rows = [a if a.dim() == 1 else a.narrow(0, row, min(high, victims - row)) for a in arrays]
        yield from zip(*(a.split(wide, -1) if a.shape[-1] == entries else repeat(a) for a in rows))  # noqa: B905
