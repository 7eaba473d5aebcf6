"""Models side by side, from runs made by hand."""

from pathlib import Path

import evaluations
import numpy as np
import pandas as pd
import pytest
import studies
from common import error_of

from attnlab.report.statistics import wilson_interval
from attnlab.study.board import read_board
from attnlab.study.columns import _of_maps
from attnlab.study.leaderboard import leaderboard
from attnlab.study.ranking import Ranked, by_condition, rank, short_layout, table

EPS = "stepll 4/255"


def described(count: int, weights: str = "", model: str = "net", **options: object) -> dict:
    made = studies.manifest(count, **{name: options.pop(name) for name in ("methods", "eps") if name in options})
    made["options"] |= {"model": model, **options}
    made["model"] |= {"sha256": weights} if weights else {}
    return made


def records(count: int, *, lost: int = 0, wrong: int = 0, iou: float = 0.5, shared: int = 5) -> list[dict]:
    """Images of which the attack takes the first so many, and the model misclassifies the last so many."""
    made = studies.rows(count)
    for number, row in enumerate(made):
        label, (attacked,) = row["label"], row["adversarial"]
        row["prediction"] = (label + (number >= count - wrong)) % 30
        attacked["prediction"] = (label + (number < lost or number >= count - wrong)) % 30
        row["maps"] = [{**row["maps"][0], "iou_att_gt": iou}]
        attacked["maps"] = [
            {**row["maps"][0], "iou_att_gt": iou / 2, "shared_cells": [min(shared, k) for k in range(1, 17)]}
        ]
    return made


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> list[Path]:
    """40 images: of `good` the attack takes 10, of `fair` 20, of `poor` all 30 that it classifies correctly."""
    place = tmp_path_factory.mktemp("board")
    made = {"fair": records(40, lost=20, iou=0.6), "good": records(40, lost=10), "poor": records(40, lost=40, wrong=10)}
    return [studies.write(place / name, rows, described(40, name, name)) for name, rows in made.items()]


@pytest.fixture(scope="module")
def ranked(three) -> Ranked:
    return rank(read_board(three))


def test_numbers_of_a_model_by_hand(ranked):
    assert list(ranked.board.columns) == ["clean", EPS, "iou", f"iou {EPS}", f"deviation {EPS}"]
    low, high = (100 * end for end in wilson_interval(30, 40))
    assert ranked.means["good", EPS] == pytest.approx((40, 75, low, high))
    assert ranked.means["poor", "clean"][:2] == (40, 75)
    assert ranked.means["poor", "iou"] == pytest.approx((30, 0.5, 0.5, 0.5))  # of the images that it has right
    assert ranked.means["fair", f"iou {EPS}"][:2] == pytest.approx((40, 0.3))
    assert ranked.means["good", f"deviation {EPS}"][:2] == pytest.approx((40, 1 - 5 / 15))


def test_models_are_in_the_order_of_a_column_and_the_first_is_what_others_are_compared_with(ranked, three):
    assert (ranked.by, ranked.models, ranked.against) == (EPS, ["good", "fair", "poor"], "good")
    other = rank(read_board(three), "iou", "poor")
    assert (other.models[0], other.against) == ("fair", "poor")
    assert set(other.differences["model"]) == {"fair", "good"}


def test_models_are_compared_on_the_images_that_both_have(ranked):
    rows = ranked.differences.set_index(["column", "model"])
    fair, poor = rows.loc[(EPS, "fair")], rows.loc[(EPS, "poor")]
    assert fair["difference"] == pytest.approx(-25)  # 10 of 40 images
    assert fair["ci_low"] < -25 < fair["ci_high"] < 0
    assert fair["p"] == pytest.approx(2 / 2**10)  # all of ten signs alike
    assert fair["p_holm"] == pytest.approx(max(2 * poor["p"], fair["p"]))
    assert rows.loc[("iou", "poor"), "n"] == 30
    assert rows.loc[("iou", "fair"), "difference"] == pytest.approx(0.1)


def test_pairs_that_share_few_images_are_refused_with_the_reason(tmp_path):
    folders = [
        studies.write(tmp_path / "a", records(40), described(40, "a", "a")),
        studies.write(tmp_path / "b", records(40, wrong=15), described(40, "b", "b")),
    ]
    made = rank(read_board(folders), against="a")
    row = made.differences.set_index("column").loc["iou"]
    assert row["missing"] == "they share 25 images, fewer than 30"
    assert np.isnan(row["difference"])
    assert np.isnan(row["p_holm"])
    assert made.differences.set_index("column").loc[EPS, "n"] == 40


def test_what_a_run_lacks_is_empty_and_not_zero(three, tmp_path):
    rows = [{**row, "image_id": f"{row['image_id']}-{copy}"} for copy in range(10) for row in evaluations.rows()]
    run = evaluations.write(tmp_path / "evaluated", rows, evaluations.manifest(images=40))
    board = read_board([three[1], run])
    # of a, b, c and d pgd10 leaves `plain` b and c, with A3 c alone, and clean images a, b and c
    name = "pgd10 0.3"
    assert board.values["plain"][name].mean() == 50
    assert board.values["plain"]["pgd10+a3 0.3"].mean() == 25
    assert board.values["plain"]["clean (data mnist test)"].mean() == 75
    assert "each data has columns of its own, not compared: clean" in board.notes
    made = rank(board, name)
    assert made.models[-1] == "good"  # which has no such column
    frame = table(made).set_index("model")
    assert pd.isna(frame.loc["good", name])
    assert pd.isna(frame.loc["good", f"{name} n"])
    assert pd.isna(frame.loc["plain", "iou"])
    assert str(short_layout(made).lines[-1][3]) == "--"
    layout = by_condition(made, "object")
    assert layout is not None
    assert {line[1] for line in layout.lines} == {"good"}


def test_runs_of_one_model_are_one_row_and_it_is_told(three, tmp_path):
    again = described(40, "good", "again", attack_name="pgd10", attack={**studies.ATTACK, "steps": 10})
    board = read_board([three[1], studies.write(tmp_path / "again", records(40, lost=30), again)])
    assert list(board.values) == ["good"]
    assert board.values["good"]["pgd10 4/255"].mean() == 25
    assert any(note.endswith("one model by the hash of its weights, good: good") for note in board.notes)


def test_models_of_one_name_are_told_apart(tmp_path):
    folders = [studies.write(tmp_path / name, records(40), described(40, name)) for name in ("first", "second")]
    assert list(read_board(folders).values) == ["net (first)", "net (second)"]
    folders = [studies.write(tmp_path / name, records(40), described(40)) for name in ("third", "fourth")]
    assert list(read_board(folders).values) == [f"net ({folder})" for folder in folders]


def test_a_column_that_two_runs_of_a_model_give_is_the_firsts_and_it_is_told(three, tmp_path):
    other = studies.write(tmp_path / "other", records(40, lost=12), described(40, "good", "good"))
    board = read_board([three[1], other])
    assert board.values["good"][EPS].mean() == 75
    (told,) = [note for note in board.notes if note.startswith(EPS)]
    assert told.endswith("of 40 that both have 2 differ")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"resize": "crop"}, "resize crop"),
        ({"attack": {**studies.ATTACK, "steps": 5}}, "steps 5"),
        ({"data": "folder"}, "data folder val"),
    ],
)
def test_what_was_measured_otherwise_is_another_column(three, tmp_path, options, told):
    other = studies.write(tmp_path / "other", records(40), described(40, "other", "other", **options))
    board = read_board([three[1], other])
    assert f"{EPS} ({told})" in board.columns
    assert EPS not in board.columns
    assert any(" has columns of its own, not compared: " in note and EPS in note for note in board.notes)
    made = rank(board, against="good")
    assert set(made.differences.loc[made.differences["column"] == f"{EPS} ({told})", "missing"]) == {"good has none"}


def test_maps_of_other_grids_are_not_compared_and_ious_with_the_object_are(three, tmp_path):
    other = described(40, "other", "other")
    other["model"]["map_shape"] = [2, 8]
    board = read_board([three[1], studies.write(tmp_path / "other", records(40), other)])
    assert {f"deviation {EPS} (grid 4 x 4)", f"deviation {EPS} (grid 2 x 8)", f"iou {EPS}"} <= {*board.columns}


def test_the_first_method_that_all_have_is_compared(tmp_path):
    rows = studies.rows(40, methods=2)
    names = [("grad-cam", "saliency"), ("saliency", "layer-cam"), ("layer-cam", "hires-cam")]
    folders = [
        studies.write(tmp_path / model, rows, described(40, model, model, methods=methods))
        for model, methods in zip("abc", names, strict=True)
    ]
    assert read_board(folders[:2]).method == "saliency"
    board = read_board(folders, "layer-cam")
    assert [model for model, values in board.values.items() if "iou" in values] == ["b", "c"]
    assert f"{folders[0]} has no maps of layer-cam" in board.notes
    assert error_of(read_board, folders).startswith("expected a method that all analyses have, got none (")
    assert "did you mean 'layer-cam'?" in error_of(read_board, folders, "layercam")


def test_an_attack_that_leaves_predictions_has_no_accuracy(tmp_path):
    attack = {**studies.ATTACK, "objective": "move-map", "distance": "top-k"}
    board = read_board([studies.write(tmp_path / "a", records(40), described(40, attack=attack))])
    assert list(board.columns) == ["clean", "iou", f"iou {EPS}", f"deviation {EPS}"]
    assert "leaves predictions as they are, so that there is no accuracy under it" in board.notes[0]


def test_other_images_are_told(three, tmp_path):
    board = read_board([three[1], studies.write(tmp_path / "b", records(40)[:35], described(35, "b", "b"))])
    told = "clean: each model's own images (good 40, b 35); differences are of those that both have"
    assert told in board.notes
    assert set(rank(board).differences.loc[:1, "n"]) == {35}


def test_wrong_input_is_refused_in_one_line(three, tmp_path):
    board = read_board(three)
    assert error_of(rank, board, "stepl 4/255").endswith("got 'stepl 4/255'; did you mean 'stepll 4/255'?")
    assert error_of(rank, board, None, "god").endswith("got 'god'; did you mean 'good'?")
    assert error_of(read_board, [three[0]] * 2) == f"expected each run once, got {three[0]} twice"
    other = [{**row, "label": (row["label"] + 1) % 30} for row in records(40)]
    run = studies.write(tmp_path / "other", other, described(40, "other"))
    assert error_of(read_board, [three[0], run]).startswith("expected one label for each image, got ")


def test_a_board_writes_its_files(attnlab, three):
    done = attnlab("leaderboard", *three, "--out", "board", "--against", "poor")
    assert done.code == 0, done.err
    assert "less poor" in done.out
    names = {"leaderboard.csv", "differences.csv", "leaderboard.tex", "leaderboard.md", "leaderboard.html"}
    names |= {"scatter.png", "scatter.pdf", "scatter.txt"}
    assert {path.name for path in Path("board").iterdir()} == names
    read = pd.read_csv("board/leaderboard.csv")
    assert read["model"].tolist() == ["good", "fair", "poor"]
    assert read[EPS].tolist() == [75, 50, 0]
    page = Path("board/leaderboard.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 1
    assert "http" not in page.replace("http-equiv", "")
    assert "--against poor" in Path("board/leaderboard.md").read_text()


def test_a_board_of_one_model_has_no_differences(three):
    made = leaderboard(three[:1])
    assert made.ranked.differences.empty
    assert [str(cell) for cell in made.in_short().lines[0][4:]] == ["--", "--", "--"]


def test_measures_of_a_run_are_columns_of_their_family_where_an_image_has_one_number():
    names = ["pointing", "mass", "deletion", "pxap"]
    manifest = {"options": {"measures": names, "pair_measures": ["emd"]}, "model": {"map_shape": [4, 4]}}
    numbers = {
        "iou_att_gt": [0.5, np.nan],
        "adv_iou_att_gt": [0.25, 0.5],
        "iou_ori_adv": [0.75, 1.0],
        "emd": [0.1, 0.2],
    }
    numbers |= {"pointing": [1, 0], "adv_pointing": [0, 0], "deletion": [0.3, 0.4], "adv_deletion": [0.5, 0.6]}
    images = pd.DataFrame(numbers, ["a", "b"])
    found = list(_of_maps(images, manifest, "fgsm", ((("data", "x"),), (("eps", "1"),))))
    assert [(column.group, column.name, values.to_dict()) for column, values in found] == [
        ("object", "iou", {"a": 0.5}),
        ("object", "iou fgsm", {"a": 0.25, "b": 0.5}),
        ("object", "pointing", {"a": 1, "b": 0}),
        ("object", "pointing fgsm", {"a": 0, "b": 0}),
        ("faithfulness", "deletion", {"a": 0.3, "b": 0.4}),
        ("faithfulness", "deletion fgsm", {"a": 0.5, "b": 0.6}),
        ("deviation", "deviation fgsm", {"a": 0.25, "b": 0}),
        ("deviation", "emd fgsm", {"a": 0.1, "b": 0.2}),
    ]
    abouts = [dict(column.about) for column, _ in found]
    assert abouts[0] == {"data": "x"}
    assert abouts[1] == {"data": "x", "eps": "1"}
    assert [about["grid"] for about in abouts[-2:]] == ["4 x 4"] * 2
