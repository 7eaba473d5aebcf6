"""Confidence intervals of means and differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

RESAMPLES = 2_000
#: numbers drawn at a time, of one sample and of two: of one they may be any, of two they decide which are drawn
AT_ONCE = (100_000, 1_000_000)
NO_INTERVAL = (float("nan"), float("nan"))

Interval = tuple[float, float]


def bootstrap_interval(values: np.ndarray) -> Interval:
    """95 % percentile bootstrap interval of the mean (Efron 1979), always the same; NaN of fewer than two values."""
    return _bootstrap(np.mean, values)


def bootstrap_difference(first: np.ndarray, second: np.ndarray) -> Interval:
    """95 % percentile bootstrap interval of mean(first) - mean(second), two samples of their own; NaN likewise."""
    return _bootstrap(lambda left, right, axis: left.mean(axis) - right.mean(axis), first, second)


def _bootstrap(statistic: Callable[..., Any], *samples: np.ndarray) -> Interval:
    if min(map(len, samples)) < 2:
        return NO_INTERVAL
    interval = stats.bootstrap(
        [np.asarray(sample, np.float64) for sample in samples],
        statistic,
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE[len(samples) - 1] // sum(map(len, samples))),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def mean_interval(values: npt.ArrayLike) -> tuple[int, float, float, float]:
    """Number of values that are not NaN, their mean, and its bootstrap interval; NaN where there is none."""
    numbers = np.asarray(values, np.float64)
    known = numbers[~np.isnan(numbers)]
    return len(known), float(known.mean()) if len(known) else float("nan"), *bootstrap_interval(known)


def bootstrap_total(
    total: Callable[[np.ndarray, np.ndarray], np.ndarray], values: np.ndarray
) -> tuple[float, float, float]:
    """A number of several images together, and its 95 % percentile bootstrap interval over images, always the same.

    `total` gets what the images have, (n, m), and how often each counts, (R, n), and returns a number for each of R
    rows. NaN without images, and for the interval of fewer than two.
    """
    count = len(values)
    if not count:
        return float("nan"), *NO_INTERVAL
    whole = float(total(values, np.ones((1, count)))[0])
    if count < len(NO_INTERVAL):
        return whole, *NO_INTERVAL
    rng, batch = np.random.default_rng(0), max(1, AT_ONCE[1] // count)
    totals = []
    for start in range(0, RESAMPLES, batch):
        rows = min(batch, RESAMPLES - start)
        totals.append(total(values, rng.multinomial(count, np.full(count, 1 / count), rows).astype(float)))
    low, high = np.percentile(np.concatenate(totals), [2.5, 97.5])
    return whole, float(low), float(high)


def wilson_interval(successes: int, trials: int) -> Interval:
    """95 % interval of a share (Wilson 1927); NaN without trials."""
    if not trials:
        return NO_INTERVAL
    interval = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value that two models are equally accurate (McNemar 1947).

    Each number is of the images that one of them alone classifies correctly.
    """
    if not only_first + only_second:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)
