"""Intervals and tests against their formulas."""

import math

import numpy as np
import pytest
from scipy import stats

from attnlab.report.statistics import bootstrap_interval, mcnemar, wilson_interval

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
