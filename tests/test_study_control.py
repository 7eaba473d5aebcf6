"""Controls of a study: against statsmodels' formulas, on data with a known confound, and where there is no number."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula import api

from attnlab.study.control import logistic, matched, same_image, separated, turned
from attnlab.study.mediation import mediation

CONTROLS = ("margin", "box_area")


def images(count: int = 400, *, confounded: bool = True, effect: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Images whose object's area decides IoU and vulnerability alike; `effect` is of the IoU itself, in log-odds."""
    draw = np.random.default_rng(seed)
    area = draw.uniform(0.05, 0.9, count)
    iou = np.clip((0.3 + 0.5 * area if confounded else 0.55) + draw.normal(0, 0.12, count), 0, 1)
    margin = draw.normal(3, 1, count)
    odds = 2.5 - 4 * area - 0.5 * (margin - 3) + effect * (iou - iou.mean()) / iou.std()
    succeed = (draw.uniform(size=count) < 1 / (1 + np.exp(-odds))).astype(float)
    return pd.DataFrame({"succeed": succeed, "iou": iou, "margin": margin, "box_area": area,
                         "label": draw.integers(0, 60, count)})  # fmt: skip


def test_the_regression_equals_statsmodels_formula():
    frame = images()
    z = frame.assign(
        **{name: (frame[name] - frame[name].mean()) / frame[name].std(ddof=0) for name in ("iou", *CONTROLS)}
    )
    groups = {"cov_type": "cluster", "cov_kwds": {"groups": z["label"]}, "use_t": True}
    fit = api.logit("succeed ~ iou + margin + box_area", z).fit(disp=0, **groups)
    found = logistic(frame, "succeed", "iou", CONTROLS, "label")
    low, high = np.exp(fit.conf_int().loc["iou"])
    assert (found.odds_ratio, found.low, found.high) == pytest.approx((np.exp(fit.params["iou"]), low, high), rel=1e-6)
    assert found.p == pytest.approx(fit.pvalues["iou"], rel=1e-6)
    assert found.errors == "errors clustered by 60 groups"
    other = turned(found, -1)
    assert (other.odds_ratio, other.low, other.high) == pytest.approx(
        (1 / found.odds_ratio, 1 / high, 1 / low), rel=1e-6
    )


def test_a_confound_is_controlled_for_and_a_true_effect_stays():
    confounded, true = images(800), images(800, effect=-0.9, seed=1)
    for frame in (confounded, true):
        assert frame.groupby("succeed")["iou"].mean().diff().iloc[1] < -0.05  # both look like an effect
    assert logistic(confounded, "succeed", "iou", CONTROLS, "label").p > 0.05
    assert logistic(true, "succeed", "iou", CONTROLS, "label").p < 1e-4
    pairs, difference, low, high = matched(confounded, "succeed", "iou", CONTROLS)
    assert pairs > 100
    assert low < 0 < high
    pairs, difference, low, high = matched(true, "succeed", "iou", CONTROLS)
    assert difference == pytest.approx((low + high) / 2, abs=0.01)
    assert high < 0


def test_the_controlled_p_value_of_a_confound_alone_is_small_as_often_as_it_should_be():
    small = [logistic(images(300, seed=seed), "succeed", "iou", CONTROLS, "label").p < 0.05 for seed in range(25)]
    assert np.mean(small) <= 0.2


def test_matching_by_hand():
    frame = pd.DataFrame({
        "succeed": [1, 1, 0, 0, 0, 0],
        "iou": [0.2, 0.4, 0.5, 0.9, 0.1, 0.8],
        "box_area": [0.1, 0.5, 0.11, 0.5, 0.9, 0.52],
    })  # fmt: skip
    pairs, difference, *_ = matched(frame, "succeed", "iou", ["box_area"])
    assert pairs == 2
    assert difference == pytest.approx(((0.4 - 0.9) + (0.2 - 0.5)) / 2)
    pairs, difference, *_ = matched(frame.assign(succeed=1 - frame["succeed"]), "succeed", "iou", ["box_area"])
    assert difference == pytest.approx(0.4)
    assert matched(frame, "succeed", "iou", [])[0] == 0


def test_two_images_are_not_matched_with_one():
    frame = pd.DataFrame({"succeed": [1, 1, 0, 0, 0], "iou": [1, 2, 3, 4, 5.0], "box_area": [0.5, 0.5, 0.5, 5, 9]})
    assert matched(frame, "succeed", "iou", ["box_area"])[0] == 1
    many = pd.DataFrame({"succeed": [1, 0, 0] * 50, "iou": 1.0, "box_count": [1, 1, 2] * 50})
    assert matched(many, "succeed", "iou", ["box_count"])[0] >= 40  # equals are not all paired with the same few


def test_too_few_images_are_said_and_not_computed():
    frame = images(60)
    frame["succeed"] = [1.0] * 31 + [0.0] * 29
    found = logistic(frame, "succeed", "iou", CONTROLS, "label")
    assert found.missing == "too few images for the control: 29 of the smaller group, 30 needed for 3 variables"
    assert np.isnan([found.odds_ratio, found.p]).all()


@pytest.mark.parametrize("noise", [0, 1])
def test_separation_is_said_and_never_a_number(noise):
    frame = images(200)
    frame["succeed"] = (frame["iou"] < frame["iou"].median()).astype(float)  # complete
    if noise:  # quasi-complete: one control is 1 for images of one group alone
        frame["margin"] = 0.0
        frame["succeed"] = images(200)["succeed"]
        frame.loc[frame[frame["succeed"] == 1].index[:20], "margin"] = 1.0
    found = logistic(frame, "succeed", "iou", CONTROLS, "label")
    assert found.missing == "the variables tell the groups apart (separation)"
    assert np.isnan(found.odds_ratio)
    assert not separated(images(200)[["iou", "margin"]].to_numpy(), images(200)["succeed"].to_numpy())


def test_what_does_not_vary_is_no_variable_and_what_depends_on_another_is_said():
    frame = images().assign(box_count=1.0, twice=lambda known: 2 * known["margin"])
    assert logistic(frame, "succeed", "iou", ("margin", "box_count"), "label").variables == ("margin",)
    assert (
        logistic(frame, "succeed", "iou", ("margin", "twice"), "label").missing == "the variables depend on each other"
    )
    assert (
        logistic(frame.assign(iou=0.5), "succeed", "iou", ("margin",), "label").missing
        == "iou is the same for all images"
    )
    few = logistic(frame.assign(label=0), "succeed", "iou", ("margin",), "label")
    assert few.errors == "robust errors (HC1): fewer than 20 groups to cluster by"


def test_mediation_is_the_ratio_of_two_slopes():
    frame = images(500).assign(iou=lambda known: 0.1 * known["margin"] + known["iou"])
    found = mediation(*(frame[name].to_numpy() for name in ("succeed", "iou", "margin")))
    alone, beside = (api.ols(f"succeed ~ {terms}", frame).fit().params["iou"] for terms in ("iou", "iou + margin"))
    assert found.share == pytest.approx(1 - beside / alone)
    assert found.low < found.share < found.high


def test_there_is_no_share_of_an_effect_that_is_not_there():
    draw = np.random.default_rng(0)
    assert np.isnan(
        mediation((draw.uniform(size=200) < 0.5).astype(float), draw.normal(size=200), draw.normal(size=200))
    ).all()
    assert np.isnan(mediation(np.array([0.0, 1, 1]), np.ones(3), np.arange(3.0))).all()


def test_one_pair_has_no_mean_difference():
    known = {"outcome": [1, 0, 1, 0], "measure": [0.75, 0.25, 0.5, 0.125], "image_id": ["a", "a", "b", "b"]}
    frame = pd.DataFrame({**known, "area": [1.0, 1.0, 2.0, 3.0]})
    count, *rest = same_image(frame, "outcome", "measure", ["area"])
    assert (count, np.isnan(rest).all()) == (1, True)
    assert same_image(frame, "outcome", "measure", [])[:2] == (2, (0.5 + 0.375) / 2)
