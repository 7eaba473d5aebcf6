"""Every comparison's effect, before and after control, and what it says of the claim: one table."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from attnlab.study import CLAIMS
from attnlab.study.comparisons import UNRECORDED, Comparison
from attnlab.study.control import Control, logistic, matched, same_image, turned
from attnlab.study.effects import Effect, compare, compare_pairs, detectable, holm, power
from attnlab.study.mediation import Mediation, mediation
from attnlab.study.verdict import sentence, verdict

SMALLEST = 0.03  # smallest difference that matters: the study gives its power, and calls smaller ones none
NONE = float("nan")

#: column of the claims' table -> what it holds
COLUMNS = {
    "claim": "which",
    "model": "of which model, or models",
    "attack": "under which attack",
    "eps": "its budget",
    "method": "by whose maps",
    "blind": "whether that method looks at nothing, and is a reference",
    "n_first": "images of the group that the claim has higher",
    "n_second": "images of the other",
    "mean_first": "mean of the measure in the first",
    "mean_second": "in the second",
    "difference": "of the means: positive where it is as claimed",
    "ci_low": "its 95 % bootstrap interval",
    "ci_high": "",
    "cliffs_delta": "Cliff's delta, turned likewise",
    "auroc": "of the measure, turned likewise, as a predictor of the group",
    "auroc_low": "its 95 % interval (DeLong)",
    "auroc_high": "",
    "p": "two-sided, by permutations",
    "p_holm": "corrected over the methods of the same claim, model and eps",
    "tests": "how many those are",
    "power": "probability that a difference of `smallest` is seen, at .05 over the tests",
    "detectable": "difference that is seen with a probability of .8 at that level",
    "controls": "what the regression controls for",
    "not_controlled": "why there is no regression",
    "odds_ratio": "of the outcome for a standard deviation of the measure, after control: above 1 as claimed",
    "odds_low": "its 95 % interval",
    "odds_high": "",
    "p_controlled": "two-sided, that it is 1",
    "p_controlled_holm": "corrected likewise",
    "errors": "what the regression's errors allow for",
    "matched_pairs": "pairs of images alike in the controls",
    "matched": "mean difference of the pairs, as claimed",
    "matched_low": "its 95 % bootstrap interval",
    "matched_high": "",
    "centred": "difference of the measure less that of a centred frame, as claimed",
    "centred_low": "its 95 % bootstrap interval",
    "centred_high": "",
    "centred_p": "two-sided, by permutations",
    "centred_p_holm": "corrected likewise",
    "margin": "which column stands for the margin",
    "mediated": "share of the effect that goes when the margin enters",
    "mediated_low": "its 95 % bootstrap interval",
    "mediated_high": "",
    "verdict": "",
    "sentence": "the verdict with its numbers",
}


def adjudicate(compared: Iterable[Comparison], smallest: float = SMALLEST) -> pd.DataFrame:
    """A row of COLUMNS for each comparison; `smallest` is the smallest difference that matters."""
    every = list(compared)
    rows = [_row(one) for one in every]
    if not rows:
        return pd.DataFrame(columns=[*COLUMNS])
    table = pd.DataFrame(rows)
    families: dict[tuple[object, ...], list[int]] = {}
    for place, one in enumerate(every):
        if not one.blind:
            families.setdefault(one.family, []).append(place)
    table["tests"] = 0
    for places in families.values():
        for name in ("p", "p_controlled", "centred_p"):
            table.loc[places, f"{name}_holm"] = holm(table.loc[places, name])
        table.loc[places, "tests"] = int(table.loc[places, "p"].notna().sum())
    table["power"] = [
        power(error, smallest, tests) for error, tests in zip(table["error"], table["tests"], strict=True)
    ]
    table["detectable"] = [detectable(*both) for both in zip(table["error"], table["tests"], strict=True)]
    table["verdict"] = [verdict(row, smallest) for row in _dicts(table)]
    table["sentence"] = [sentence(row, CLAIMS[row["claim"]], smallest) for row in _dicts(table)]
    table.loc[table["blind"], ["verdict", "sentence"]] = ["reference", "a method that looks at nothing"]
    return table.reindex(columns=[*COLUMNS])


def _dicts(table: pd.DataFrame) -> Any:
    return table.to_dict("records")


def _row(one: Comparison) -> dict[str, Any]:
    claim, rows = CLAIMS[one.claim], one.rows
    paired = claim.compares != "images"
    effect, centred = _effect(one, claim.measure), Effect(0, 0, *[NONE] * 11)
    if claim.centred:
        centred = _effect(one, claim.centred)
    control, pairs, share = Control(), (0, NONE, NONE, NONE), Mediation()
    if claim.controls:
        clusters = "image_id" if paired else "label"
        control = logistic(rows, claim.outcome, claim.measure, one.controls, clusters)
        control = turned(control, claim.sign)
        pair = same_image if paired else matched
        count, *numbers = pair(rows, claim.outcome, claim.measure, one.controls)
        pairs = (count, *_turned(numbers, claim.sign))
    if one.margin in one.controls:
        used = rows.dropna(subset=[claim.outcome, claim.measure, one.margin])
        share = mediation(*(used[name].to_numpy(float) for name in (claim.outcome, claim.measure, one.margin)))
    return {
        **{name: getattr(one, name) for name in ("claim", "model", "attack", "eps", "method", "blind")},
        **dict(zip(("n_first", "n_second", "mean_first", "mean_second"), effect[:4], strict=True)),
        **effect._asdict(),
        "controls": ", ".join(control.variables or one.controls),
        "not_controlled": control.missing,
        **dict(zip(("odds_ratio", "odds_low", "odds_high", "p_controlled", "errors"),
                   (control.odds_ratio, control.low, control.high, control.p, control.errors), strict=True)),
        **dict(zip(("matched_pairs", "matched", "matched_low", "matched_high"), pairs, strict=True)),
        **dict(zip(("centred", "centred_low", "centred_high", "centred_p"),
                   (centred.difference, centred.ci_low, centred.ci_high, centred.p), strict=True)),
        "margin": "log-odds of the label" if one.margin == UNRECORDED else "margin",
        **dict(zip(("mediated", "mediated_low", "mediated_high"), share, strict=True)),
        "p_holm": NONE,
        "p_controlled_holm": NONE,
        "centred_p_holm": NONE,
    }  # fmt: skip


def _effect(one: Comparison, measure: str) -> Effect:
    """The effect, first being the group that the claim has higher."""
    claim = CLAIMS[one.claim]
    rows = one.rows.dropna(subset=measure)
    groups = [rows.loc[rows[claim.outcome] == value, measure].to_numpy(np.float64) for value in (1, 0)]
    first, second = groups if claim.sign > 0 else groups[::-1]
    return compare(first, second) if claim.compares == "images" else compare_pairs(first, second)


def _turned(numbers: Any, sign: int) -> Any:
    """A difference and its interval the other way round, where sign is -1."""
    value, low, high = numbers
    return (value, low, high) if sign > 0 else (0.0 - value, 0.0 - high, 0.0 - low)
