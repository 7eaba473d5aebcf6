"""Tables 4 and 5 from hand-made explanations: every number can be checked by eye."""

import json
import math
import zlib
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from common import error_of

from attnlab.boxes import matched_box
from attnlab.report.tables import TABLES
from attnlab.report.tables.latex import as_latex
from attnlab.report.tables.lime import lime_ious, lime_tables

EPS = 16 / 255


def lime_record(weights: list[float]) -> dict:
    """Four superpixels, the quarters of an image of 8x8 pixels."""
    labels = np.kron(np.array([[0, 1], [2, 3]], np.uint16), np.ones((4, 4), np.uint16))
    return {"class": 0, "samples": 9, "segments": zlib.compress(labels.astype(np.uint16).tobytes()), "weights": weights}


@pytest.fixture
def explained() -> pd.DataFrame:
    """Two images with a box on their left half, and one whose explanation is missing."""
    left, right = lime_record([0.9, 0.1, 0.8, -0.2]), lime_record([0.1, 0.9, -0.2, 0.8])
    return pd.DataFrame(
        {
            "group": ["succeed", "fail", "fail"],
            "eps": EPS,
            "boxes": [[[0.0, 0, 4, 8]]] * 3,
            "lime": [left, right, None],
            "adv_lime": [right, right, None],
            "lime_again": [left, left, None],
        }
    )


def test_tables_4_and_5_by_hand(explained):
    tables = lime_tables(explained, [EPS], (8, 8), features=[1, 2], ground_truth="box")
    assert " ".join(tables["table4"]) == "features group n iou_att_gt ci_low ci_high paper"
    assert " ".join(tables["table5"]) == "features group n iou_ori_adv ci_low ci_high paper"
    assert tables["table4"]["n"].tolist() == [1, 1, 1, 1]
    # one superpixel: a quarter; two: the left or the right half
    assert tables["table4"]["iou_att_gt"].tolist() == [0.5, 0.0, 1.0, 0.0]
    assert tables["table4_adversarial"]["iou_att_gt"].tolist() == [0.0, 0.0, 0.0, 0.0]
    assert tables["table5"]["iou_ori_adv"].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert tables["noise_floor"]["iou_two_seeds"].tolist() == [1.0, 0.0, 1.0, 0.0]


def test_an_explanation_that_is_missing_leaves_its_own_ious_nan(explained):
    image = {**explained.iloc[0], "adv_lime": None}
    ious = lime_ious(image, (8, 8), [1, 2], "box")
    assert (ious["table4"], ious["noise_floor"]) == ({1: 0.5, 2: 1.0}, {1: 1.0, 2: 1.0})
    assert all(math.isnan(ious[name][count]) for name in ("table4_adversarial", "table5") for count in (1, 2))


def test_numbers_of_features_below_one_are_refused(explained):
    message = "expected numbers of features from 1 on, got [3, 0]"
    assert error_of(lime_tables, explained, [EPS], (8, 8), None, [3, 0]) == message


def test_a_negative_superpixel_counts_among_the_strongest_but_not_to_the_area(explained):
    explained.at[0, "lime"] = lime_record([0.5, -0.9, 0.1, 0.0])
    table = lime_tables(explained, [EPS], (8, 8), features=[2], ground_truth="box")["table4"]
    assert table["iou_att_gt"][0] == 0.5  # superpixel 0 alone


def test_the_matched_box_has_the_areas_size_and_the_boxes_centre(explained):
    frame = matched_box(np.array([[0.0, 0, 4, 8]]), area=16.0)
    assert frame.tolist() == [[2 - 2**0.5, 4 - 2 * 2**0.5, 2 + 2**0.5, 4 + 2 * 2**0.5]]
    two = matched_box(np.array([[0.0, 0, 2, 2], [4.0, 4, 8, 8]]), area=64.0)
    assert two.tolist() == [[0, 0, 8, 8]]
    table = lime_tables(explained, [EPS], (8, 8), features=[1], ground_truth="matched")["table4"]
    # area rows 0-3, columns 0-3; the scaled box, rounded, is rows 1-6, columns 1-2
    assert table["iou_att_gt"][0] == 6 / (16 + 12 - 6)


def test_lime_tables_carry_the_papers_values(explained):
    paper = json.loads(files("attnlab.report").joinpath("paper.json").read_text())
    tables = lime_tables(explained, [EPS], (8, 8), paper, features=[8])
    assert tables["table4"]["paper"].tolist() == [0.413, 0.442]
    assert tables["table5"]["paper"].tolist() == [0.138, 0.212]
    assert r"\#.Features" in as_latex(TABLES["table5"].lay_out(tables["table5"]), "")
