"""How figures choose their images, and the numbers behind their curves: by hand."""

import numpy as np
import pandas as pd
import pytest

from attnlab.report.figures.choose import misled, scatter, scattered, scatters, typical
from attnlab.report.figures.curves import step_families, success_rates
from attnlab.report.statistics import wilson_interval
from attnlab.views import quantile_examples


def images(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image_id", "group", "iou_att_gt", "confidence"])


def test_quantile_examples_takes_the_middle_of_each_part():
    values = [5.0, 1, 3, 2, 4]  # ranked: places 1, 3, 2, 4, 0
    assert quantile_examples(values, 1) == [2]
    assert quantile_examples(values[:4], 1) == [3]  # 1, 2, 3, 5: the lower middle is 2
    assert quantile_examples(list(range(12)), 3) == [1, 5, 9]
    assert quantile_examples(list(range(10)), 2) == [2, 7]
    assert quantile_examples(values, 9) == [1, 3, 2, 4, 0]


def test_quantile_examples_leaves_out_what_is_not_known_and_keeps_the_order_of_equals():
    assert quantile_examples([np.nan, 2.0, np.nan, 2.0, 2.0], 1) == [3]
    assert quantile_examples([np.nan], 1) == []
    assert quantile_examples([], 2) == []


def test_figure_1_shows_the_image_of_median_iou_of_each_group():
    frame = images(
        ("a", "succeed", 0.9, 0.1),
        ("b", "succeed", 0.2, 0.2),
        ("c", "fail", 0.4, 0.3),
        ("d", "succeed", 0.5, 0.4),
        ("e", "fail", 0.6, 0.5),
        ("f", "fail", np.nan, 0.5),
    )
    assert typical(frame) == {"succeed": ["d"], "fail": ["c"]}
    assert typical(frame[frame["group"] == "fail"]) == {"succeed": [], "fail": ["c"]}


def test_without_boxes_the_confidence_stands_in():
    frame = images(("a", "fail", np.nan, 0.9), ("b", "fail", np.nan, 0.1), ("c", "fail", np.nan, 0.5))
    assert typical(frame) == {"succeed": [], "fail": ["c"]}


def test_scatter_by_hand():
    corners = np.zeros((4, 4))
    corners[0, 0] = corners[3, 3] = 2.0  # centres (1/8, 1/8) and (7/8, 7/8), the middle is 3/8 away on both axes
    assert scatter(corners) == pytest.approx(np.sqrt(2) * 3 / 8)
    one = np.full((4, 4), -5.0)
    one[2, 1] = 3.0
    assert scatter(one) == 0
    assert scatter(np.ones((200, 100))) == pytest.approx(np.sqrt(1 / 6), abs=1e-4)
    assert np.isnan(scatter(-np.ones((2, 2))))


def test_figure_13_finds_the_most_scattered_maps_and_the_lowest_ious_of_sure_predictions():
    wide, narrow, none = np.ones((4, 4)), np.eye(4)[:, :1] * np.eye(4)[0], -np.ones((4, 4))
    maps = pd.DataFrame({"image_id": ["a", "b", "c", "d"], "map": [*map(np.ravel, (narrow, none, wide)), None]})
    assert scattered(maps.join(scatters(maps, (4, 4))), 3) == ["c", "a"]
    frame = images(
        ("a", "fail", 0.1, 0.89), ("b", "fail", 0.3, 0.9), ("c", "fail", 0.2, 1.0), ("d", "fail", np.nan, 1.0)
    )
    assert misled(frame, 3) == ["c", "b"]
    assert misled(frame, 1) == ["c"]


def test_success_rates_by_hand():
    frame = images(
        ("a", "succeed", 0.0, 1),
        ("b", "fail", 0.04, 1),
        ("c", "succeed", 0.1, 1),
        ("d", "fail", 0.95, 1),
        ("e", "succeed", 1.0, 1),
        ("f", "succeed", 1.0, 1),
        ("g", "succeed", np.nan, 1),
    )
    rates = success_rates(frame)
    assert rates["iou"].tolist() == pytest.approx([0.05, 0.15, 0.95])
    assert rates["n"].tolist() == [2, 1, 3]
    assert rates["rate"].tolist() == pytest.approx([0.5, 1, 2 / 3])
    low, high = wilson_interval(2, 3)
    assert rates.iloc[2][["ci_low", "ci_high"]].tolist() == pytest.approx([low, high])


def test_attacks_are_grouped_by_what_differs_in_steps_alone():
    steps = {"pgd100": 100, "pgd": 40, "pgd10": 10, "pgd10+a3": 10, "pgd20+a3": 20, "fgsm": 1, "cw5": 5}
    attacks: dict[str, dict[str, int] | None] = {name: {"steps": number} for name, number in steps.items()}
    families = step_families(attacks | {"clean": None, "square": {"eps": 0}})
    assert families == {
        "pgd": {10: "pgd10", 40: "pgd", 100: "pgd100"},
        "pgd+a3": {10: "pgd10+a3", 20: "pgd20+a3"},
    }
