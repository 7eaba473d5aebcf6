"""Intervals and tests against their formulas."""

import math

import numpy as np
import pytest
from scipy import stats

from attnlab.report.statistics import (
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_total,
    mcnemar,
    mean_interval,
    wilson_interval,
)

TABLE6 = ["dataset", "model", "defense", "attack", "n", "accuracy", "ci_low", "ci_high", "paper"]


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (3, 7), (9912, 10_000), (1, 1)])
def test_wilson_interval_equals_wilsons_formula(successes, trials):
    z = stats.norm.ppf(0.975)
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    assert wilson_interval(successes, trials) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_wilson_interval_of_nothing_is_none():
    assert np.isnan(wilson_interval(0, 0)).all()


@pytest.mark.parametrize(("first", "second"), [(0, 5), (5, 0), (3, 3), (2, 9), (40, 61), (1, 0)])
def test_mcnemar_equals_the_exact_binomial_sum(first, second):
    """Twice the probability of at most min(first, second) heads in first + second throws of a fair coin."""
    count = first + second
    tail = sum(math.comb(count, heads) for heads in range(min(first, second) + 1)) / 2**count
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail), abs=1e-12)


@pytest.mark.parametrize("count", [2, 7, 301, 60_001])
def test_the_interval_of_a_mean_is_scipys_however_many_numbers_are_drawn_at_a_time(count):
    values = np.random.default_rng(1).random(count)
    batch = max(1, 1_000_000 // count)
    options = {"n_resamples": 2_000, "method": "percentile", "rng": np.random.default_rng(0), "batch": batch}
    interval = stats.bootstrap([values], np.mean, **options).confidence_interval
    assert bootstrap_interval(values) == (interval.low, interval.high)


def test_mcnemar_without_a_difference_is_1():
    assert mcnemar(0, 0) == 1.0


def test_the_interval_of_a_difference_is_scipys():
    draw = np.random.default_rng(2)
    first, second = draw.random(700), draw.random(500)  # 833 resamples of both are drawn at a time
    options = {"n_resamples": 2_000, "method": "percentile", "rng": np.random.default_rng(0), "batch": 833}
    interval = stats.bootstrap([first, second], lambda one, two, axis: one.mean(axis) - two.mean(axis), **options)
    assert bootstrap_difference(first, second) == tuple(interval.confidence_interval)


def test_intervals_need_two_values_of_each_sample():
    assert np.isnan(bootstrap_interval(np.array([3.0]))).all()
    assert np.isnan(bootstrap_difference(np.array([3.0]), np.arange(5.0))).all()
    assert np.isfinite(bootstrap_interval(np.array([3.0, 4.0]))).all()


def test_a_mean_is_of_the_values_that_are_known():
    count, mean, *interval = mean_interval([1, math.nan, 3, 8])
    assert (count, mean) == (3, 4)
    assert tuple(interval) == bootstrap_interval(np.array([1.0, 3.0, 8.0]))
    assert mean_interval([math.nan])[0] == 0
    assert np.isnan(mean_interval([math.nan])[1:]).all()


def mean_of(values, weights):
    return (weights @ values)[:, 0] / weights.sum(1)


@pytest.mark.parametrize("count", [2, 50, 1_200])
def test_the_interval_of_a_total_is_that_of_2000_resamples_however_many_are_drawn_at_a_time(count):
    values = np.random.default_rng(3).random((count, 1))
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), 2_000)
    ends = np.percentile(weights @ values[:, 0] / count, [2.5, 97.5])
    assert bootstrap_total(mean_of, values) == pytest.approx((values.mean(), *ends), abs=1e-12)


def test_a_total_of_one_image_has_no_interval_and_that_of_none_no_number():
    one, *interval = bootstrap_total(mean_of, np.array([[0.3]]))
    assert one == 0.3
    assert np.isnan(interval).all()
    assert np.isnan(bootstrap_total(mean_of, np.empty((0, 1)))).tolist() == [True] * 3


def test_the_interval_of_a_total_is_that_of_resampled_images():
    """Of a total that is a mean, both bootstraps give nearly the same."""
    values = np.random.default_rng(3).random((50, 1))
    whole, low, high = bootstrap_total(mean_of, values)
    _, mean, *interval = mean_interval(values[:, 0])
    assert whole == pytest.approx(mean)
    np.testing.assert_allclose([low, high], interval, atol=0.01)
