"""The same effect once other things are held equal: logistic regression, and matching on what is controlled for.

A number is given only where it can be: the smaller group needs IMAGES_PER_VARIABLE images for each variable, and a
model whose groups a combination of variables tells apart (separation), or that does not converge, has none.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, spatial

from attnlab.report.statistics import NO_INTERVAL, bootstrap_interval

IMAGES_PER_VARIABLE = 10  # of the smaller group (Peduzzi et al. 1996)
CLUSTERS = 20  # fewer classes than these tell too little of how images of one class go together
TIES = 1e-6  # standard deviations of the noise that tells images of equal controls apart
CALIPER = 0.5  # standard deviations by which the controls of two matched images may differ, each
NEIGHBOURS = 16  # among which an image's match is looked for
NONE = float("nan")


@dataclass(frozen=True)
class Control:
    """The measure's coefficient in a logistic regression of the outcome on it and the controls, or why there is none.

    Attributes:
        missing: Why there is no number; empty where there is one.
        odds_ratio: Of the outcome, for one standard deviation of the measure.
        low: Its 95 % interval, as high.
        p: Two-sided, that it is 1.
        variables: Columns beside the measure.
        errors: What its standard errors allow for, in words.
    """

    missing: str = ""
    odds_ratio: float = NONE
    low: float = NONE
    high: float = NONE
    p: float = NONE
    variables: tuple[str, ...] = ()
    errors: str = ""


def logistic(frame: pd.DataFrame, outcome: str, measure: str, controls: Sequence[str], clusters: str) -> Control:
    """Regress an outcome of 0 and 1 on a measure and controls, all standardised; `clusters` is a column of groups."""
    used = frame.dropna(subset=[outcome, measure, *controls])
    varying = tuple(name for name in controls if used[name].nunique() > 1)
    y, count = used[outcome].to_numpy(float), 1 + len(varying)
    reason = too_few(y, count) or ("" if used[measure].nunique() > 1 else f"{measure} is the same for all images")
    if reason:
        return Control(reason, variables=varying)
    x = standardised(used[[measure, *varying]].to_numpy(float))
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return Control("the variables depend on each other", variables=varying)
    if separated(x, y):
        return Control("the variables tell the groups apart (separation)", variables=varying)
    from statsmodels.discrete.discrete_model import Logit

    fit, errors = fitted(Logit(y, np.column_stack([np.ones(len(y)), x])), used[clusters].to_numpy())
    if fit is None:
        return Control("the regression did not converge", variables=varying)
    ends = fit.conf_int()[1]
    with np.errstate(over="ignore"):
        ratio, low, high = map(float, np.exp([fit.params[1], *ends]))
    if not np.isfinite([ratio, low, high, fit.pvalues[1]]).all():
        return Control("the regression did not converge", variables=varying)
    return Control("", ratio, low, high, float(fit.pvalues[1]), varying, errors)


def turned(control: Control, sign: int) -> Control:
    """The same for the measure turned round, where sign is -1."""
    if sign > 0 or control.missing:
        return control
    return replace(control, odds_ratio=1 / control.odds_ratio, low=1 / control.high, high=1 / control.low)


def too_few(outcome: np.ndarray, variables: int) -> str:
    """Why so many images do not suffice for that number of variables; empty where they do."""
    smaller, needed = int(min(outcome.sum(), (1 - outcome).sum())), IMAGES_PER_VARIABLE * variables
    if smaller >= needed:
        return ""
    return f"too few images for the control: {smaller} of the smaller group, {needed} needed for {variables} variables"


def separated(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether a plane has one group on one side, so that a logistic regression has no maximum (Konis 2007).

    It is so, quasi-completely at least, if some b has s (x b + c) >= 0 for all images and > 0 for one, s being 1 or -1
    by the group: a linear programme.
    """
    sides = np.column_stack([np.ones(len(y)), x]) * np.where(y > 0, 1.0, -1.0)[:, None]
    found = optimize.linprog(-sides.sum(0), A_ub=-sides, b_ub=np.zeros(len(y)), bounds=(-1, 1), method="highs")
    return bool(found.fun is None or -found.fun > 1e-6 * len(y))


def fitted(model: Any, clusters: np.ndarray) -> tuple[Any, str]:
    """A model of statsmodels fitted, None where it does not converge, and what its errors allow for."""
    how, errors = robust(clusters)
    more = {"disp": 0, "maxiter": 100} if hasattr(model, "cdf") else {}  # a linear one takes no steps
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fit = model.fit(**more, **how)
    except (Warning, np.linalg.LinAlgError, ValueError):  # perfect separation is a warning too
        return None, errors
    return (fit if not more or fit.mle_retvals["converged"] else None), errors


def robust(clusters: np.ndarray) -> tuple[dict[str, Any], str]:
    """Arguments of statsmodels for standard errors that allow for clusters, or for few of them HC1; in words too."""
    codes, names = pd.factorize(clusters)
    if len(names) >= CLUSTERS:
        known = {"cov_type": "cluster", "cov_kwds": {"groups": codes}, "use_t": True}
        return known, f"errors clustered by {len(names)} groups"
    return {"cov_type": "HC1", "use_t": True}, "robust errors (HC1): fewer than 20 groups to cluster by"


def standardised(x: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1."""
    return np.asarray((x - x.mean(0)) / x.std(0))


def matched(
    frame: pd.DataFrame, outcome: str, measure: str, controls: Sequence[str]
) -> tuple[int, float, float, float]:
    """Pairs of an image of each group that are alike in the controls: their number, mean difference and interval.

    Each image of the smaller group is paired with its nearest of the other that is still free, nearest pairs first,
    among NEIGHBOURS of which each control differs by at most CALIPER of its standard deviations; others have no pair.
    The difference is outcome 1 less 0, NaN of fewer than two pairs.
    """
    used = frame.dropna(subset=[outcome, measure, *controls])
    varying = [name for name in controls if used[name].nunique() > 1]
    groups = used[outcome].to_numpy(float) > 0
    if not varying or min(groups.sum(), (~groups).sum()) < 2:
        return 0, NONE, *NO_INTERVAL
    x, values = standardised(used[varying].to_numpy(float)), used[measure].to_numpy(float)
    x = x + np.random.default_rng(0).normal(0, TIES, x.shape)
    rare = groups if groups.sum() <= (~groups).sum() else ~groups
    few, many = np.flatnonzero(rare), np.flatnonzero(~rare)
    neighbours = min(NEIGHBOURS, len(many))
    distances, near = spatial.cKDTree(x[many]).query(x[few], neighbours, p=np.inf, distance_upper_bound=CALIPER)
    distances, near = np.reshape(distances, (len(few), -1)), np.reshape(near, (len(few), -1))
    taken: dict[int, int] = {}
    paired: set[int] = set()
    for place in np.argsort(distances, axis=None, kind="stable"):
        one, rank = divmod(int(place), neighbours)
        if np.isinf(distances[one, rank]):
            break
        other = int(near[one, rank])
        if one not in paired and other not in taken:
            taken[other] = one
            paired.add(one)
    if len(taken) < 2:
        return len(taken), NONE, *NO_INTERVAL
    differences = values[few[list(taken.values())]] - values[many[list(taken)]]
    differences = differences if rare is groups else -differences
    return len(taken), float(differences.mean()), *bootstrap_interval(differences)


def same_image(
    frame: pd.DataFrame, outcome: str, measure: str, controls: Sequence[str]
) -> tuple[int, float, float, float]:
    """What `matched` gives where both groups are the same images: of those whose controls are equal in both."""
    used = frame.dropna(subset=[outcome, measure, *controls]).set_index("image_id")
    first, second = (used[used[outcome] == value] for value in (1, 0))
    first, second = first.align(second, join="inner", axis=0)
    alike = (first[[*controls]] == second[[*controls]]).all(axis=1)
    differences = (first[measure] - second[measure])[alike].to_numpy(float)
    if len(differences) < 2:
        return len(differences), NONE, *NO_INTERVAL
    return len(differences), float(differences.mean()), *bootstrap_interval(differences)
