"""Intervals around what a sample tells."""

import numpy as np
from scipy import stats

RESAMPLES = 2_000


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean (Efron 1979), from 2,000 resamples.

    Args:
        values: One value per image, (n,).
        seed: The same values and seed give the same interval.

    Returns:
        Lower and upper end; NaN where there are fewer than two values.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    interval = stats.bootstrap(
        (np.asarray(values, np.float64),),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 1_000_000 // len(values)),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def bootstrap_difference(first: np.ndarray, second: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of mean(first) - mean(second), two samples of their own, 2,000 resamples.

    Args:
        first: One value per image, (n,).
        second: One value per image, (m,).
        seed: The same values and seed give the same interval.

    Returns:
        Lower and upper end; NaN where either has fewer than two values.
    """
    if min(len(first), len(second)) < 2:
        return float("nan"), float("nan")
    interval = stats.bootstrap(
        (np.asarray(first, np.float64), np.asarray(second, np.float64)),
        lambda one, other, axis: one.mean(axis) - other.mean(axis),
        n_resamples=RESAMPLES,
        batch=max(1, 1_000_000 // (len(first) + len(second))),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); NaN without trials."""
    if not trials:
        return float("nan"), float("nan")
    interval = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value that two models are equally accurate (McNemar 1947).

    Args:
        only_first: Number of images that the first model alone classifies correctly.
        only_second: Number of those that the second alone does.
    """
    if not only_first + only_second:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)
