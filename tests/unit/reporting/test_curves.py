"""Mean curves by hand."""

import numpy as np

from dia.reporting.curves import mean_curve


def test_a_stopped_victim_keeps_its_last_value() -> None:
    iterations, means = mean_curve([[0, 10, 20, 30], [0, 10]], [[1.0, 0.8, 0.6, 0.4], [3.0, 1.0]])
    assert iterations.tolist() == [0, 10, 20, 30]
    np.testing.assert_allclose(means, [2.0, 0.9, 0.8, 0.7])


def test_samples_at_different_iterations_hold_until_the_next() -> None:
    iterations, means = mean_curve([[0, 10], [5, 10]], [[1.0, 0.0], [3.0, 2.0]])
    assert iterations.tolist() == [5, 10]  # before 5 one victim has no sample
    np.testing.assert_allclose(means, [2.0, 1.0])


def test_victims_without_samples_do_not_count() -> None:
    iterations, means = mean_curve([[0, 1], []], [[1.0, 2.0], []])
    assert (iterations.tolist(), means.tolist()) == ([0, 1], [1.0, 2.0])
    # A curve that one kind of attack does not have: iterations, but no values.
    assert [len(part) for part in mean_curve([[0, 1]], [[]])] == [0, 0]
    assert [len(part) for part in mean_curve([], [])] == [0, 0]


def test_thinning_keeps_both_ends() -> None:
    iterations, means = mean_curve([list(range(0, 1000, 10))], [list(np.linspace(1, 0, 100))], points=7)
    assert len(iterations) == 7
    assert (iterations[0], iterations[-1]) == (0, 990)
    assert (means[0], means[-1]) == (1.0, 0.0)
