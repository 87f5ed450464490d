"""95% intervals: how much a mean would vary with other victims and other seeds."""

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.95
"""Coverage of all intervals."""

RESAMPLES = 2_000
"""Bootstrap resamples: the ends of a 95% interval then move by about 2% of its width between generators."""

_GENERATOR_SEED = 0  # fixed: the same rows give the same table
_LARGEST_WEIGHTS = 4_096  # rows: 64 MiB of weights

Statistic = Literal["mean", "median"]


class Estimate(NamedTuple):
    """A number with its interval; NaN where there is none."""

    value: float
    low: float
    high: float


NO_ESTIMATE = Estimate(np.nan, np.nan, np.nan)


def bootstrap(
    values: ArrayLike,
    seeds: ArrayLike | None = None,
    statistic: Statistic = "mean",
) -> Estimate:
    """Mean or median with a hierarchical percentile bootstrap interval.

    Seeds are drawn with replacement, then the rows (victims) of each drawn seed with replacement, as victims
    that share a seed share the network's weights. With one seed it is the plain bootstrap over victims. Few
    seeds tell little about others: with 3 of them the interval is too narrow rather than too wide.

    Args:
        values: (n,) one value per row; NaN rows are left out.
        seeds: (n,) the seed of each row; None: all of one seed.
        statistic: The statistic to estimate.

    Returns:
        The estimate over all rows; without an interval where there is only one row, NaN where there is none.

    Source:
        Davison and Hinkley, Bootstrap Methods and their Application (1997), section 3.8.
    """
    rows = np.asarray(values, dtype=np.float64)
    groups = np.zeros(len(rows), dtype=int) if seeds is None else np.asarray(seeds)
    present = ~np.isnan(rows)
    order = np.argsort(groups[present], kind="stable")
    rows = rows[present][order]
    sizes = tuple(int(size) for size in np.unique(groups[present], return_counts=True)[1])
    if len(rows) == 0:
        return NO_ESTIMATE
    # Around the first value, so that equal values give that value and an interval of exactly no width.
    first, rest = float(rows[0]), rows - rows[0]
    value = first + float(np.mean(rest) if statistic == "mean" else np.median(rest))
    if len(rows) == 1:
        return Estimate(value, np.nan, np.nan)
    if statistic == "mean" and len(rows) <= _LARGEST_WEIGHTS:
        drawn = _weights(sizes) @ rest
    else:
        reduce = np.mean if statistic == "mean" else np.median
        generator = np.random.default_rng(_GENERATOR_SEED)
        drawn = np.array([reduce(rest[_draws(sizes, generator)]) for _ in range(RESAMPLES)])
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, first + float(low), first + float(high))


def _draws(sizes: tuple[int, ...], resample: np.random.Generator) -> np.ndarray:
    """One resample: indices into rows that are sorted by seed, ``sizes`` rows per seed."""
    starts = np.cumsum((0, *sizes))
    drawn = resample.integers(len(sizes), size=len(sizes))
    return np.concatenate([starts[s] + resample.integers(sizes[s], size=sizes[s]) for s in drawn])


@lru_cache(maxsize=4)
def _weights(sizes: tuple[int, ...]) -> np.ndarray:
    """(RESAMPLES, n) the share of each row in each resample.

    A mean is then one matrix product, and every group of a table with the same sizes shares the draws.
    """
    generator = np.random.default_rng(_GENERATOR_SEED)
    weights = np.empty((RESAMPLES, sum(sizes)))
    for number in range(RESAMPLES):
        counts = np.bincount(_draws(sizes, generator), minlength=sum(sizes))
        weights[number] = counts / counts.sum()
    return weights


def wilson(successes: int, trials: int) -> Estimate:
    """A success rate with Wilson's score interval, which stays in [0, 1] and is sound at 0 and 1.

    Args:
        successes: In 0..trials.
        trials: Number of images.
    """
    from scipy.stats import binomtest

    if trials == 0:
        return NO_ESTIMATE
    interval = binomtest(successes, trials).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high))


def success_rate(success: ArrayLike, images: ArrayLike) -> Estimate:
    """The share of images recovered, with Wilson's interval.

    Args:
        success: (n,) the recovered fraction of each victim's images; NaN rows are left out.
        images: (n,) the number of each victim's images.
    """
    fraction, count = np.asarray(success, dtype=np.float64), np.asarray(images)
    present = ~np.isnan(fraction)
    return wilson(int(np.rint((fraction * count)[present].sum())), int(count[present].sum()))
