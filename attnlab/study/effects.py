"""Effects of a measure between two groups of images: how large, how certain, and what could have been seen."""

from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from attnlab.report.statistics import NO_INTERVAL, Interval, bootstrap_difference, bootstrap_interval

Values = np.ndarray[Any, np.dtype[np.float64]]

DRAWS = 9_999  # permutations, where there are more than so many
#: images from which p-values come from the normal limit of the permutations' distribution
MANY = 5_000
ALPHA, POWER = 0.05, 0.8
NONE = float("nan")


class Effect(NamedTuple):
    """A measure in two groups; differences are first less second."""

    n_first: int
    n_second: int
    first: float  # means
    second: float
    difference: float
    ci_low: float
    ci_high: float
    cliffs_delta: float  # share of pairs in which the first is higher, less that in which it is lower
    auroc: float  # of the measure as a predictor of the first group
    auroc_low: float
    auroc_high: float
    p: float  # two-sided, by permutations
    error: float  # standard error of the difference


def compare(first: Values, second: Values) -> Effect:
    """Effect between two groups of different images; NaN where a group is empty, intervals of fewer than two."""
    if not (len(first) and len(second)):
        means = [float(group.mean()) if len(group) else NONE for group in (first, second)]
        return Effect(len(first), len(second), *means, *[NONE] * 9)
    area = auroc(first, second)
    return Effect(
        len(first),
        len(second),
        float(first.mean()),
        float(second.mean()),
        float(first.mean() - second.mean()),
        *bootstrap_difference(first, second),
        2 * area - 1,
        area,
        *auroc_interval(first, second),
        permutation_p(first, second),
        float(np.sqrt(_variance(first) / len(first) + _variance(second) / len(second))),
    )


def compare_pairs(first: Values, second: Values) -> Effect:
    """Effect between two conditions of the same images, value by value; NaN likewise."""
    count = len(first)
    if not count:
        return Effect(0, 0, *[NONE] * 11)
    differences, area = first - second, auroc(first, second)
    return Effect(
        count,
        count,
        float(first.mean()),
        float(second.mean()),
        float(differences.mean()),
        *bootstrap_interval(differences),
        2 * area - 1,
        area,
        *auroc_interval(first, second, paired=True),
        sign_flip_p(differences),
        float(np.sqrt(_variance(differences) / count)),
    )


def auroc(first: Values, second: Values) -> float:
    """Probability that a value of the first group is higher than one of the second, ties counting half."""
    ranks = stats.rankdata(np.concatenate([first, second]))[: len(first)].sum()
    return float((ranks - len(first) * (len(first) + 1) / 2) / (len(first) * len(second)))


def auroc_interval(first: Values, second: Values, *, paired: bool = False) -> Interval:
    """95 % interval of `auroc` (DeLong et al. 1988) on the scale of log-odds, by ranks (Sun and Xu 2014).

    Where both groups are the same images, pairs are the unit (Obuchowski 1997). NaN of fewer than two values, and where
    the groups do not overlap, of which the method knows no error.
    """
    n, m = len(first), len(second)
    if min(n, m) < 2:
        return NO_INTERVAL
    ranks = stats.rankdata(np.concatenate([first, second]))
    above = (ranks[:n] - stats.rankdata(first)) / m  # share of the second group below each of the first
    below = 1 - (ranks[n:] - stats.rankdata(second)) / n
    area = above.mean()
    variance = _variance(above + below) / n if paired else _variance(above) / n + _variance(below) / m
    if not 0 < area < 1:
        return NO_INTERVAL
    logit, error = np.log(area / (1 - area)), np.sqrt(variance) / (area * (1 - area))
    ends = logit + np.array([-1, 1]) * stats.norm.ppf(1 - ALPHA / 2) * error
    low, high = 1 / (1 + np.exp(-ends))
    return float(low), float(high)


def permutation_p(first: Values, second: Values) -> float:
    """Two-sided p-value that groups are exchangeable, by their difference of means; NaN of fewer than two values.

    All permutations are looked at where there are at most DRAWS, else DRAWS of them; of more than MANY images it comes
    from the normal limit of their distribution.
    """
    small, large = sorted((first, second), key=len)
    values, count = np.concatenate([small, large]), len(small)
    if count < 2:
        return NONE
    spread = np.abs(values - values.mean()).max()
    if spread == 0:
        return 1.0
    deviations = (values - values.mean()) / spread
    found = abs(deviations[:count].sum())
    if len(values) > MANY:
        scale = np.sqrt(count * len(large) / len(values) * _variance(deviations))
        return float(2 * stats.norm.sf(found / scale))
    members, exact = _members(len(values), count)
    sums = np.abs(members @ deviations.astype(np.float32))
    return _share(sums, found, exact=exact)


def sign_flip_p(differences: Values) -> float:
    """Two-sided p-value that differences of pairs are symmetric about 0; how, as of `permutation_p`."""
    moved = differences[differences != 0]
    if len(differences) < 2:
        return NONE
    if not len(moved):
        return 1.0
    scaled = moved / np.abs(moved).max()
    if len(moved) > MANY:
        return float(2 * stats.norm.sf(abs(scaled.sum()) / np.sqrt((scaled**2).sum())))
    signs, exact = _signs(len(moved))
    return _share(np.abs(signs @ scaled.astype(np.float32)), abs(scaled.sum()), exact=exact)


def _share(sums: Any, found: float, *, exact: bool) -> float:
    """Share of sums as extreme as the one found, which is itself one of the draws where these are not all."""
    extreme = int((sums >= found - 1e-4 * max(1.0, found)).sum())
    return extreme / len(sums) if exact else (extreme + 1) / (len(sums) + 1)


@lru_cache(maxsize=2)
def _members(total: int, count: int) -> tuple[Any, bool]:
    """Rows of 0 and 1 of `total` images, of which `count` are drawn: all there are, or DRAWS; the same every time."""
    if comb(total, count) <= DRAWS:
        chosen = np.array(list(combinations(range(total), count)))
        rows = np.zeros((len(chosen), total), np.float32)
        np.put_along_axis(rows, chosen, 1, 1)
        return rows, True
    rng, rows = np.random.default_rng(0), np.zeros((DRAWS, total), np.float32)
    rows[:, :count] = 1
    for start in range(0, DRAWS, 500):
        rng.permuted(rows[start : start + 500], axis=1, out=rows[start : start + 500])
    return rows, False


@lru_cache(maxsize=2)
def _signs(total: int) -> tuple[Any, bool]:
    """Rows of -1 and 1 of `total` images: all there are, or DRAWS; the same every time."""
    if 2**total <= DRAWS:
        bits = np.arange(2**total)[:, None] >> np.arange(total) & 1
        return (2 * bits - 1).astype(np.float32), True
    return np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (DRAWS, total)), False


def power(error: float, smallest: float, tests: int) -> float:
    """Probability that a difference is seen, by the normal limit; NaN without an error.

    Args:
        error: Its standard error.
        smallest: How large it is.
        tests: Among how many it is tested: the level is .05 over that, the strictest step of Holm's correction.
    """
    if not error > 0:
        return NONE
    level = stats.norm.ppf(1 - ALPHA / (2 * max(1, tests)))
    return float(stats.norm.sf(level - smallest / error) + stats.norm.cdf(-level - smallest / error))


def detectable(error: float, tests: int) -> float:
    """The difference that would be seen with a probability of .8; NaN without an error. Arguments as of `power`."""
    if not error > 0:
        return NONE
    return float((stats.norm.ppf(1 - ALPHA / (2 * max(1, tests))) + stats.norm.ppf(POWER)) * error)


def holm(values: Any) -> Values:
    """P-values corrected for several tests (Holm 1979), in their order; NaN stay, and count for nothing."""
    p = np.asarray(values, np.float64)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    corrected = p.copy()
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected


def _variance(values: Values) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else NONE
