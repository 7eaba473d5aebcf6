"""How much of an effect goes through the margin: the share that goes when the margin enters a linear regression."""

from typing import NamedTuple

import numpy as np

RESAMPLES = 2_000
AT_ONCE = 4_000_000  # numbers drawn at a time
NONE = float("nan")


class Mediation(NamedTuple):
    """Share of an effect that goes, and its 95 % interval; NaN where there is no effect of which some could go."""

    share: float = NONE
    low: float = NONE
    high: float = NONE


def mediation(outcome: np.ndarray, measure: np.ndarray, mediator: np.ndarray) -> Mediation:
    """1 - b / a of the measure's slopes in linear regressions of the outcome, b with the mediator and a without.

    Slopes of linear regressions can be compared, as those of logistic ones cannot (their scale changes with what else
    is in the model). The interval is a percentile bootstrap over images. NaN where the interval of `a` holds 0, or the
    measure or the mediator is constant.
    """
    if len(outcome) < 3 or min(np.ptp(measure), np.ptp(mediator), np.ptp(outcome)) == 0:
        return Mediation()
    scaled = [(column - column.mean()) / column.std() for column in (measure, mediator, outcome)]
    x, m, y = scaled
    products = np.column_stack([np.ones_like(x), x, m, y, x * x, m * m, x * m, x * y, m * y])
    whole = products.mean(0)[None]
    count, rng = len(y), np.random.default_rng(0)
    sums, rows = [], max(1, AT_ONCE // count)
    for start in range(0, RESAMPLES, rows):
        drawn = rng.integers(0, count, (min(rows, RESAMPLES - start), count))
        weights = np.stack([np.bincount(row, minlength=count) for row in drawn])
        sums.append(weights @ products / count)
    without, with_it = _slopes(np.concatenate(sums))
    low, high = np.nanpercentile(without, [2.5, 97.5])
    if low <= 0 <= high:
        return Mediation()
    alone, beside = _slopes(whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = 1 - with_it / without
    return Mediation(float(1 - beside[0] / alone[0]), *map(float, np.nanpercentile(shares, [2.5, 97.5])))


def _slopes(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope of the outcome on the measure without and with the mediator, from means of products, (R, 9)."""
    _, x, m, y, xx, mm, xm, xy, my = means.T
    vx, vm, cxm, cxy, cmy = xx - x * x, mm - m * m, xm - x * m, xy - x * y, my - m * y
    with np.errstate(divide="ignore", invalid="ignore"):
        return cxy / vx, (cxy * vm - cmy * cxm) / (vx * vm - cxm**2)
