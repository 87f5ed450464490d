"""Choosing which images of a source become victims: as many of each class as possible, always the same ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def balanced_order(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Take ``count`` images round robin over the classes: each class's first, then each class's second, ...

    Within a class the order of the source is kept; a class that has run out is passed over. So every prefix
    is as balanced as the source allows, and a smaller selection is the beginning of a larger one.

    Args:
        labels: Class of each image of the source, integers (n,).
        count: Images wanted, 0 to n.

    Returns:
        Positions in ``labels``, int64 (count,), without repetition.

    Raises:
        ValueError: ``count`` is negative or more than there are.
    """
    if not 0 <= count <= len(labels):
        raise ValueError(f"{count} of {len(labels)} images cannot be selected")
    by_class = np.argsort(labels, kind="stable")
    _, first, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.empty(len(labels), dtype=np.int64)  # how many of its class come before an image
    turn[by_class] = np.arange(len(labels)) - np.repeat(first, sizes)
    return np.lexsort((labels, turn))[:count].astype(np.int64)


def imbalance(counts: NDArray[Any]) -> str | None:
    """Say in words how a selection falls short of balance, or None when it does not.

    Balanced means that no two classes differ by more than one image.

    Args:
        counts: Selected images of each class, integers (num_classes,).
    """
    if counts.max() - counts.min() <= 1:
        return None
    absent = int((counts == 0).sum())
    present = counts[counts > 0]
    spread = f"{present.min()} to {present.max()} images per class"
    return f"not balanced: {spread}" + (f", {absent} of {len(counts)} classes without any" if absent else "")
