"""What numbers say of a claim, in one word and one sentence."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from attnlab.study import Claim
from attnlab.study.effects import ALPHA, POWER
from attnlab.words import counted

#: the words there are, the clearest first
HOLDS, BEFORE, UNCONTROLLED = "holds", "holds only before control", "holds, not controlled"
REVERSED, NONE, UNTOLD = "reversed", "no such difference", "cannot be told at this n"
Row = Mapping[str, Any]
FEWEST = 10  # images that each group needs


def verdict(row: Row, smallest: float) -> str:
    """The word for a row of the claims' table, by the first rule that fits.

    1. A group has fewer than FEWEST images: cannot be told at this n.
    2. The corrected p-value is .05 or more. Where the interval of the difference lies within `smallest` of 0 on both
       sides: no such difference; else: cannot be told at this n.
    3. It is below, and the difference is against the claim: reversed.
    4. It is below, and the difference is as claimed. Where there is nothing to control for, because both groups are
       the same images: holds. Where the regression could not be made: holds, not controlled. Where its coefficient is
       as claimed with a corrected p-value below .05: holds; else: holds only before control.
    """
    if _too_few(row):
        return UNTOLD
    if row["p_holm"] >= ALPHA:
        return NONE if -smallest < row["ci_low"] and row["ci_high"] < smallest else UNTOLD
    if row["difference"] < 0:
        return REVERSED
    if not row["controls"]:
        return HOLDS
    if row["not_controlled"]:
        return UNCONTROLLED
    return HOLDS if row["odds_ratio"] > 1 and row["p_controlled_holm"] < ALPHA else BEFORE


def sentence(row: Row, claim: Claim, smallest: float) -> str:
    """The verdict with the numbers it stands on."""
    word: Any = row["verdict"]
    if _too_few(row):
        first, second = claim.groups if claim.sign > 0 else claim.groups[::-1]
        return f"{word}: {counted(row['n_first'], 'image')} of {first}, {row['n_second']} of {second}"
    found = f"{claim.direction} {row['difference']:+.3f} [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]"
    tested = f"p = {row['p_holm']:.2g} (Holm, {counted(row['tests'], 'test')})"
    parts = [f"{word}: {found}, {tested}"]
    if word == UNTOLD:
        parts.append(
            f"a difference of {smallest:g} would have been seen with {row['power']:.0%}, one of "
            f"{row['detectable']:.3f} with {POWER:.0%}"
        )
    if row["not_controlled"]:
        parts.append(row["not_controlled"])
    elif row["controls"]:
        odds = f"{row['odds_ratio']:.2f} [{row['odds_low']:.2f}, {row['odds_high']:.2f}]"
        parts.append(f"after control odds {odds} a standard deviation, p = {row['p_controlled_holm']:.2g}")
    if not np.isnan(row["mediated"]):
        ends = f"[{row['mediated_low']:.0%}, {row['mediated_high']:.0%}]"
        parts.append(f"{row['mediated']:.0%} {ends} of it goes when the {row['margin']} enters")
    return "; ".join(parts)


def _too_few(row: Row) -> bool:
    return bool(min(row["n_first"], row["n_second"]) < FEWEST or np.isnan(row["p_holm"]))
