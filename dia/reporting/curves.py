"""Curves over iterations of victims that stopped at different times."""

from collections.abc import Sequence

import numpy as np


def last_value_carried_forward(
    iterations: Sequence[Sequence[int]], values: Sequence[Sequence[float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Bring the victims' curves to common iterations; a victim that has stopped keeps its last value.

    Args:
        iterations: For each victim, the iterations at which its curve was sampled, ascending.
        values: For each victim, the samples; a victim without any does not count.

    Returns:
        The iterations (k,), from the first at which every victim has a sample, and the values (victims, k); empty
        without any.
    """
    curves = [
        (np.asarray(i), np.asarray(v, dtype=np.float64)) for i, v in zip(iterations, values, strict=True)
    ]
    curves = [(i, v) for i, v in curves if len(v)]
    if not curves:
        return np.empty(0, dtype=np.int64), np.empty((0, 0))
    grid = np.unique(np.concatenate([i for i, _ in curves])).astype(np.int64)
    grid = grid[grid >= max(i[0] for i, _ in curves)]
    return grid, np.array([v[np.searchsorted(i, grid, side="right") - 1] for i, v in curves])


def mean_curve(
    iterations: Sequence[Sequence[int]], values: Sequence[Sequence[float]], points: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Average the victims' curves, see :func:`last_value_carried_forward`.

    Args:
        iterations: For each victim, the iterations of its samples.
        values: For each victim, the samples.
        points: Keep at most about this many points, evenly spread, the last one included; None: all.

    Returns:
        The iterations (k,) and the means (k,), empty without any.
    """
    grid, held = last_value_carried_forward(iterations, values)
    if not len(held):
        return grid, np.empty(0)
    if points is not None and len(grid) > points:
        kept = np.unique(np.linspace(0, len(grid) - 1, points).round().astype(int))
        grid, held = grid[kept], held[:, kept]
    return grid, held.mean(axis=0)
