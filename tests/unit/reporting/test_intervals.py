"""Intervals against hand-computed numbers, SciPy, and what they promise."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from dia.reporting.intervals import bootstrap, wilson


def test_mean_and_median_are_those_of_all_rows() -> None:
    values, seeds = [1.0, 2.0, 3.0, 10.0], [0, 0, 0, 1]
    assert bootstrap(values, seeds).value == 4.0
    assert bootstrap(values, seeds, "median").value == 2.5
    for statistic in ("mean", "median"):
        estimate = bootstrap(values, seeds, statistic)  # type: ignore[arg-type]
        assert 1.0 <= estimate.low <= estimate.value <= estimate.high <= 10.0


def test_missing_values_are_left_out() -> None:
    assert bootstrap([1.0, math.nan, 3.0]) == bootstrap([1.0, 3.0])
    assert bootstrap([1.0, math.nan, 3.0]).value == 2.0


def test_too_few_rows_have_no_interval() -> None:
    one = bootstrap([0.5])
    assert one.value == 0.5
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert all(math.isnan(number) for number in bootstrap([]))
    assert all(math.isnan(number) for number in bootstrap([math.nan]))


def test_equal_values_have_an_interval_without_width() -> None:
    assert bootstrap([0.1] * 7, [0, 0, 0, 1, 1, 1, 1]) == (0.1, 0.1, 0.1)


def test_one_seed_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).exponential(size=40)
    ours = bootstrap(values)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * width)


def test_seeds_that_differ_widen_the_interval() -> None:
    generator = np.random.default_rng(3)
    values = np.concatenate([level + generator.normal(size=50) for level in (0.0, 5.0, 10.0)])
    seeds = np.repeat([0, 1, 2], 50)
    hierarchical, flat = bootstrap(values, seeds), bootstrap(values)
    assert hierarchical.high - hierarchical.low > 3 * (flat.high - flat.low)
    # With 3 draws of 3 seeds, all three are the lowest in 1 of 27 resamples: the interval reaches it.
    assert hierarchical.low < 1.0
    assert hierarchical.high > 9.0


def test_the_order_of_rows_does_not_matter_to_seeds() -> None:
    values, seeds = np.array([1.0, 9.0, 2.0, 8.0]), np.array([0, 1, 0, 1])
    shuffled = [0, 2, 1, 3]
    assert bootstrap(values, seeds) == bootstrap(values[shuffled], seeds[shuffled])


def test_the_interval_covers_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        estimate = bootstrap(generator.normal(1.0, 2.0, size=60))
        covered += estimate.low <= 1.0 <= estimate.high
    assert 0.91 <= covered / 400 <= 0.97


def test_many_rows_take_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values, seeds = np.random.default_rng(6).normal(size=30), np.arange(30) % 3
    through_weights = bootstrap(values, seeds)
    monkeypatch.setattr("dia.reporting.intervals._LARGEST_WEIGHTS", 0)
    assert bootstrap(values, seeds) == pytest.approx(through_weights, abs=1e-12)


def test_repeated_calls_agree() -> None:
    values = np.random.default_rng(5).normal(size=30)
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values, statistic="median") == bootstrap(values, statistic="median")


def test_wilson_by_hand() -> None:
    # z = 1.95996; k = 8, n = 10: centre (0.8 + z^2/20) / (1 + z^2/10), half width z sqrt(...) / (1 + z^2/10).
    z = 1.959963984540054
    centre = (0.8 + z**2 / 20) / (1 + z**2 / 10)
    half = z * math.sqrt(0.8 * 0.2 / 10 + z**2 / 400) / (1 + z**2 / 10)
    assert wilson(8, 10) == pytest.approx((0.8, centre - half, centre + half), abs=1e-12)
    assert wilson(0, 16).low == 0.0
    assert 0.1 < wilson(0, 16).high < 0.25
    assert wilson(16, 16).high == 1.0
    assert math.isnan(wilson(0, 0).value)
