"""Means and spreads over trainings of the same defence."""

import numpy as np
import pandas as pd
import pytest

from attnlab.report.tables.accuracy import table6
from benchmarks.across_seeds import gains, over_seeds


def records(model: str, correct: dict[str, list[int]]) -> pd.DataFrame:
    """Images of label 0, of which an attack leaves those with a 1 classified correctly."""
    rows = [
        {"model": model, "image_id": str(image), "label": 0, "clean_prediction": 0, "attack": attack}
        | {"prediction": 0 if kept else 1, "steps_to_success": np.nan}
        for attack, flags in correct.items()
        for image, kept in enumerate(flags)
    ]
    return pd.DataFrame(rows)


FIRST = {
    0: records("a", {"clean": [1, 1, 1, 1], "pgd10": [1, 1, 0, 0]}),
    1: records("a", {"clean": [1, 1, 1, 1], "pgd10": [1, 1, 1, 0]}),
}
SECOND = {
    0: records("b", {"clean": [1, 1, 1, 0], "pgd10": [1, 0, 0, 0]}),
    1: records("b", {"clean": [1, 1, 0, 0], "pgd10": [0, 0, 0, 0]}),
    2: records("b", {"clean": [1, 1, 0, 0], "pgd10": [1, 1, 1, 1]}),
}


def test_table6_over_seeds_is_mean_and_spread_by_hand():
    tables = [table6(frame, "mnist", {"a": {"defense": "madry"}}) for frame in FIRST.values()]
    frame = over_seeds(tables).set_index("attack")
    assert list(frame.index) == ["clean", "pgd10"]
    row = frame.loc["pgd10"]
    assert (row.defense, row.seeds, row.n, row.lowest, row.highest) == ("madry", 2, 4, 50, 75)
    assert row.accuracy == pytest.approx(62.5)
    assert row.sd == pytest.approx(25 / np.sqrt(2))
    assert frame.loc["clean"].sd == 0


def test_one_seed_has_no_spread():
    frame = over_seeds([table6(FIRST[0], "mnist", {"a": {"defense": "madry"}})])
    assert frame["sd"].isna().all()
    assert (frame["seeds"] == 1).all()


def test_gains_pair_the_seeds_that_both_have():
    frame = gains({"madry+aad": FIRST, "madry": SECOND}, [("madry+aad", "madry")]).set_index("attack")
    row = frame.loc["pgd10"]  # 50 less 25, 75 less 0
    assert (row.seeds, row.difference, row.lowest, row.highest) == (2, 50, 25, 75)
    assert row.sd == pytest.approx(50 / np.sqrt(2))
    assert frame.loc["clean"].difference == pytest.approx((25 + 50) / 2)


def test_a_gain_under_an_attack_is_of_the_seeds_that_have_it():
    first = FIRST | {1: FIRST[1].query("attack == 'clean'")}
    frame = gains({"madry+aad": first, "madry": SECOND}, [("madry+aad", "madry")]).set_index("attack")
    assert frame.loc["pgd10", ["seeds", "difference", "lowest", "highest"]].tolist() == [1, 25, 25, 25]
    assert frame.loc["clean"].seeds == 2


def test_a_defence_without_trainings_has_no_gain():
    assert gains({"madry": SECOND}, [("madry+aad", "madry")]).empty
