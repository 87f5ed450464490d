"""Curves over iterations: the mean over victims that stopped at different times."""

from collections.abc import Sequence

import numpy as np


def mean_curve(
    iterations: Sequence[Sequence[int]], values: Sequence[Sequence[float]], points: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Average the victims' curves; a victim that has stopped keeps its last value.

    Args:
        iterations: For each victim, the iterations at which its curve was sampled, ascending.
        values: For each victim, the samples; a victim without any does not count.
        points: Keep at most about this many points, evenly spread, the last one included; None: all.

    Returns:
        The iterations (k,) and the means (k,), from where every victim has a sample on, empty without any.
    """
    curves = [
        (np.asarray(i), np.asarray(v, dtype=np.float64)) for i, v in zip(iterations, values, strict=True)
    ]
    curves = [(i, v) for i, v in curves if len(v)]
    if not curves:
        return np.empty(0, dtype=np.int64), np.empty(0)
    grid = np.unique(np.concatenate([i for i, _ in curves])).astype(np.int64)
    grid = grid[grid >= max(i[0] for i, _ in curves)]
    if points is not None and len(grid) > points:
        grid = grid[np.unique(np.linspace(0, len(grid) - 1, points).round().astype(int))]
    held = [v[np.searchsorted(i, grid, side="right") - 1] for i, v in curves]
    return grid, np.mean(held, axis=0)
