"""Claims of a study, from runs whose generator is known."""

import zlib

import numpy as np
import pandas as pd
import pytest
import studies

from attnlab.study import CLAIMS
from attnlab.study.adjudicate import COLUMNS as OF_CLAIMS
from attnlab.study.adjudicate import adjudicate
from attnlab.study.comparisons import comparisons, is_blind
from attnlab.study.effects import permutation_p
from attnlab.study.images import COLUMNS, log_odds
from attnlab.study.inputs import read_runs
from attnlab.study.verdict import sentence, verdict


@pytest.fixture(scope="module")
def confounded(tmp_path_factory):
    """400 images whose object's size alone decides, as two methods see them, the second being noise."""
    described = studies.manifest(400, ("grad-cam", "saliency", "centre"))
    return studies.write(tmp_path_factory.mktemp("study") / "plain", studies.rows(400, methods=3), described)


@pytest.fixture(scope="module")
def judged(confounded) -> pd.DataFrame:
    inputs = read_runs([confounded])
    return adjudicate(comparisons(inputs)).set_index(["claim", "method"])


def test_a_claim_that_a_confound_alone_makes_true_holds_only_before_control(judged):
    row = judged.loc[("1", "grad-cam")]
    assert row["verdict"] == "holds only before control"
    assert row["ci_low"] > 0.03
    assert row["p_controlled_holm"] > 0.05
    assert row["matched_low"] < 0 < row["matched_high"]
    assert row["controls"] == "margin, box_area, box_offset"  # each image has one box


def test_a_claim_that_is_true_holds_after_control(tmp_path):
    run = studies.write(tmp_path / "true", studies.rows(400, effect=-9, seed=1))
    row = adjudicate(comparisons(read_runs([run]), ["1"])).iloc[0]
    assert row["verdict"] == "holds"
    assert row["odds_low"] > 1
    assert row["matched_low"] > 0


def test_noise_is_no_difference_or_cannot_be_told(judged):
    assert judged.loc[("1", "saliency"), "verdict"] == "cannot be told at this n"
    text = judged.loc[("1", "saliency"), "sentence"]
    assert "a difference of 0.03 would have been seen with" in text
    assert "one of 0.0" in text


def test_attention_that_moves_where_the_attack_succeeds_is_seen(judged):
    row = judged.loc[("3", "grad-cam")]
    assert row["verdict"] == "holds"
    assert row["difference"] == pytest.approx(row["mean_first"] - row["mean_second"])
    assert row["mean_first"] > row["mean_second"]
    assert row["cliffs_delta"] == pytest.approx(2 * row["auroc"] - 1)


def test_a_method_that_looks_at_nothing_is_a_reference_that_is_in_no_family(judged):
    assert judged.loc[("1", "centre"), "verdict"] == "reference"
    assert np.isnan(judged.loc[("1", "centre"), "p_holm"])
    assert judged.loc[("1", "grad-cam"), "tests"] == 2
    assert [is_blind(name) for name in ("centre", "random-map", "grad-cam", "lime")] == [True, True, False, False]


def test_corrected_p_values_are_those_of_the_methods_together(judged, confounded):
    images = read_runs([confounded]).images
    p = []
    for method in ("grad-cam", "saliency"):
        values = images[images["method"] == method]
        groups = [values.loc[values["succeed"] == one, "iou_att_gt"].to_numpy() for one in (0, 1)]
        p.append(permutation_p(*groups))
    assert judged.loc[("1", "saliency"), "p_holm"] == pytest.approx(max(2 * min(p), max(p)))


def test_confidence_is_looked_at_once_and_not_for_each_eps(tmp_path):
    records = studies.rows(80)
    twice = [{**row, "adversarial": [*row["adversarial"]] * 2} for row in records]
    run = studies.write(tmp_path / "two", twice, studies.manifest(80, eps=(4 / 255, 8 / 255)))
    table = adjudicate(comparisons(read_runs([run])))
    assert table.groupby("claim", sort=False).size().to_dict() == {"1": 2, "2-confidence": 1, "2-vulnerable": 2, "3": 2}
    assert list(table) == list(OF_CLAIMS)


def test_the_table_of_images_by_hand(tmp_path):
    (row,) = studies.rows(1)
    row |= {"boxes": [[0, 0, 20, 10], [30, 0, 40, 20]], "confidence": 0.75, "margin": 1.5}
    images = read_runs([studies.write(tmp_path / "one", [row])]).images
    assert list(images) == list(COLUMNS)
    first = images.iloc[0]
    assert first["box_area"] == 400 / 1600
    assert first["box_count"] == 2
    assert (first["box_x"], first["box_y"]) == pytest.approx(((10 + 35) / 2 / 40, (5 + 10) / 2 / 40))
    assert first["box_offset"] == pytest.approx(np.hypot(2.5, -12.5) / np.hypot(20, 20))
    assert first["log_odds"] == pytest.approx(np.log(3), abs=1e-6)
    assert first["margin"] == 1.5
    assert first["low_iou"] == (first["iou_att_gt"] < 0.5)
    shared = row["adversarial"][0]["maps"][0]["shared_cells"][9]
    assert first["iou_ori_adv"] == pytest.approx(shared / (20 - shared))


def explanation(*weights: float, **measures: list[list[float]]) -> dict:
    """Of LIME: the quarters of an image, from the left top on, with these weights and measures."""
    quarters = np.kron(np.arange(4).reshape(2, 2), np.ones((studies.SIZE // 2, studies.SIZE // 2))).astype(np.uint16)
    return {"samples": 50, "segments": zlib.compress(quarters.tobytes()), "weights": weights, **measures}


def test_lime_stands_among_the_methods_by_its_areas(tmp_path):
    (row,) = studies.rows(1)
    row |= {"boxes": [[0, 0, 20, 20]], "lime": explanation(3, 2, -1, -1, measures=[[1.0], [0.75]])}
    attacked = explanation(-1, 3, 2, -1, measures=[[0.0], [0.5]], pair_measures=[[4.0]])
    row["adversarial"] = [{**row["adversarial"][0], "lime": attacked}]
    for methods in (("grad-cam", "lime"), ("lime",)):
        mapped = (
            row if len(methods) == 2 else row | {"maps": [], "adversarial": [{**row["adversarial"][0], "maps": []}]}
        )
        described = studies.manifest(1, methods)
        described["options"] |= {"measures": ["pointing", "auc"], "pair_measures": ["emd"]} | studies.OF_LIME
        run = studies.write(tmp_path / methods[0], [mapped], described)
        one, two = (read_runs([run], features=count).images.set_index("method") for count in (1, 2))
        assert list(one.index) == list(methods)
        numbers = ["iou_att_gt", "adv_iou_att_gt", "iou_ori_adv"]
        assert one.loc["lime", numbers].tolist() == [1, 0, 0]
        # the box scaled to two quarters reaches from 0 to 24 both ways
        assert two.loc["lime", "iou_att_gt"] == pytest.approx(24 * 20 / (800 + 24 * 24 - 24 * 20))
        assert two.loc["lime", "iou_ori_adv"] == pytest.approx(1 / 3)
        assert np.isnan(one.loc["lime", "less_centred"])
        assert one.loc["lime", ["box_area", "auc", "adv_pointing", "emd"]].tolist() == [0.25, 0.75, 0, 4]
    assert "lime" not in read_runs([studies.write(tmp_path / "plain", studies.rows(1))]).images["method"].tolist()


def test_log_odds_end_where_float32_does():
    assert log_odds(np.array([1.0]))[0] == pytest.approx(25 * np.log(2), rel=1e-6)
    assert np.isfinite(log_odds(np.array([0.0])))[0]


# ------------------------------------------------------------------ models, and attacks


def test_a_defence_that_holds_attention_is_seen_on_the_same_images(tmp_path):
    plain = studies.write(tmp_path / "plain", studies.rows(120, held=0.3), studies.manifest(120, defense="none"))
    robust = studies.write(tmp_path / "robust", studies.rows(120, held=0.8), studies.manifest(120, defense="madry"))
    inputs = read_runs([plain, robust])
    row = adjudicate(comparisons(inputs, ["4"])).iloc[0]
    assert row["model"] == "net (robust) against net (plain)"
    assert row["verdict"] == "holds"
    wide = inputs.images.pivot(index="image_id", columns="defended", values="iou_ori_adv")
    assert row["difference"] == pytest.approx((wide[1.0] - wide[0.0]).mean())
    both = inputs.images.pivot(index="image_id", columns="defended", values="succeed")
    alike = both[0.0] == both[1.0]
    assert row["matched_pairs"] == alike.sum()
    assert row["matched"] == pytest.approx((wide[1.0] - wide[0.0])[alike].mean())


def test_models_that_do_not_say_their_defence_are_compared_where_the_user_says_it(tmp_path):
    folders = [studies.write(tmp_path / name, studies.rows(40, held=held)) for name, held in (("a", 0.3), ("b", 0.8))]
    notes: list[str] = []
    assert list(comparisons(read_runs(folders), ["4"], notes)) == []
    assert "needs runs of `attnlab analyze` of a defended and of an undefended model" in notes[0]
    said = read_runs(folders, defended=[str(folders[1])])
    assert [one.model for one in comparisons(said, ["4"])] == ["net (b) against net (a)"]


def test_maps_of_other_grids_are_not_compared(tmp_path):
    described = studies.manifest(40, defense="madry")
    described["model"]["map_shape"] = [2, 8]
    folders = [
        studies.write(tmp_path / "a", studies.rows(40), studies.manifest(40, defense="none")),
        studies.write(tmp_path / "b", studies.rows(40), described),
    ]
    assert list(comparisons(read_runs(folders), ["4"])) == []


def test_a3_is_compared_with_its_attack_on_the_images_that_are_classified_correctly(tmp_path):
    import evaluations

    records = [{**row, "image_id": f"{row['image_id']}-{copy}"} for copy in range(10) for row in evaluations.rows()]
    run = evaluations.write(tmp_path / "evaluated", records, evaluations.manifest(images=40))
    table = adjudicate(comparisons(read_runs([run]), ["5"])).set_index("model")
    # of a, b and c pgd10 loses a alone, with A3 a and b
    assert (table.loc["plain", "mean_first"], table.loc["plain", "mean_second"]) == pytest.approx((2 / 3, 1 / 3))
    assert table.loc["plain", "n_first"] == 30
    assert table.loc["plain", "p"] == pytest.approx(2 / 1024, abs=2e-3)  # ten images, all one way
    assert table.loc["plain", "verdict"] == "holds"
    assert (table.loc["robust", "mean_first"], table.loc["robust", "mean_second"]) == (2 / 4, 1 / 4)
    assert table.loc["robust", "n_first"] == 40
    assert table.loc["plain", "attack"] == "pgd10+a3 against pgd10"


# ------------------------------------------------------------------ verdicts


ROW = {"n_first": 50, "n_second": 50, "p_holm": 0.01, "difference": 0.1, "ci_low": 0.05, "ci_high": 0.15, "tests": 2,
       "controls": "margin", "not_controlled": "", "odds_ratio": 1.5, "p_controlled_holm": 0.01, "power": 0.82,
       "odds_low": 1.1, "odds_high": 2.0, "detectable": 0.04, "mediated": float("nan"), "margin": "margin"}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "holds"),
        ({"p_controlled_holm": 0.2}, "holds only before control"),
        ({"odds_ratio": 0.7}, "holds only before control"),
        ({"not_controlled": "too few images", "odds_ratio": np.nan}, "holds, not controlled"),
        ({"controls": ""}, "holds"),
        ({"difference": -0.1, "ci_low": -0.15, "ci_high": -0.05}, "reversed"),
        ({"p_holm": 0.2, "ci_low": -0.01}, "cannot be told at this n"),
        ({"p_holm": 0.2, "ci_low": -0.02, "ci_high": 0.025}, "no such difference"),
        ({"p_holm": np.nan}, "cannot be told at this n"),
        ({"n_first": 9}, "cannot be told at this n"),
    ],
)
def test_every_verdict_has_its_rule(changes, word):
    row = ROW | changes
    assert verdict(row, 0.03) == word
    assert sentence(row | {"verdict": word}, CLAIMS["1"], 0.03).startswith(word)


def test_a_sentence_says_the_power_and_what_the_margin_explains():
    row = ROW | {"p_holm": 0.2, "ci_low": -0.01, "mediated": 0.4, "mediated_low": 0.2, "mediated_high": 0.7}
    assert sentence(row | {"verdict": verdict(row, 0.03)}, CLAIMS["1"], 0.03) == (
        "cannot be told at this n: fail less succeed +0.100 [-0.010, +0.150], p = 0.2 (Holm, 2 tests); a difference of "
        "0.03 would have been seen with 82%, one of 0.040 with 80%; after control odds 1.50 [1.10, 2.00] a standard "
        "deviation, p = 0.01; 40% [20%, 70%] of it goes when the margin enters"
    )
