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
