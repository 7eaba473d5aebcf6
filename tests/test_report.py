"""Tables from hand-made records: every number can be checked by eye."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from common import begun_run

from attnlab.errors import UserError
from attnlab.records import read_records
from attnlab.report.statistics import bootstrap_interval
from attnlab.report.tables import TABLES
from attnlab.report.tables.export import write_tables
from attnlab.report.tables.iou import i_att, table1, table2, table3
from attnlab.report.tables.latex import as_latex
from attnlab.report.tables.published import published
from attnlab.run_opening import open_run
from attnlab.schema import ATTENTION
from attnlab.words import as_fraction

EPS = 16 / 255

#: image, label, prediction, adversarial prediction, confidence, IoU, box share, cells shared for k = 1, 2, 3
IMAGES = [
    ("a", 0, 0, 1, 0.9, 0.4, 1.0, [0, 1, 3]),
    ("b", 1, 1, 0, 0.7, 0.8, 1.0, [1, 2, 3]),
    ("c", 1, 1, 1, 0.5, 0.6, 1.0, [1, 1, 3]),
    ("wrong", 0, 1, 1, 0.1, 0.9, 1.0, [1, 2, 3]),
    ("no box", 0, 0, 1, 0.9, None, None, [1, 2, 3]),
    ("constant", 0, 0, 1, 0.9, None, 1.0, None),
]


@pytest.fixture
def records() -> pd.DataFrame:
    names = [
        "image_id",
        "label",
        "prediction",
        "adv_prediction",
        "confidence",
        "iou_att_gt",
        "box_share",
        "shared_cells",
    ]
    return pd.DataFrame(IMAGES, columns=names).assign(eps=EPS)


def test_i_att_is_what_is_classified_correctly_and_has_a_box(records):
    assert list(i_att(records)["image_id"]) == ["a", "b", "c", "constant"]
    assert list(i_att(records, has_boxes=False)["image_id"]) == ["a", "b", "c", "no box", "constant"]


def test_table1_by_hand(records):
    table = table1(i_att(records), [EPS])
    assert list(table.columns) == [
        "group",
        "n",
        "percent",
        "iou_att_gt",
        "ci_low",
        "ci_high",
        "paper_percent",
        "paper_iou_att_gt",
    ]
    assert table["group"].tolist() == ["succeed", "fail"]
    assert table["n"].tolist() == [2, 1]
    assert table["percent"].tolist() == pytest.approx([75, 25]), "of all four, the one without an area too"
    assert table["iou_att_gt"].tolist() == pytest.approx([0.6, 0.6])
    assert table["ci_low"][0] == pytest.approx(0.4)
    assert table["ci_high"][0] == pytest.approx(0.8)
    assert np.isnan(table["ci_low"][1]), "one value has no interval"


def test_table2_by_hand_with_an_empty_group(records):
    table = table2(i_att(records), [EPS])
    assert list(table.columns) == [
        "group",
        "n",
        "percent",
        "confidence",
        "ci_low",
        "ci_high",
        "paper_percent",
        "paper_confidence",
    ]
    assert table["n"].tolist() == [1, 0]
    assert table["percent"].tolist() == [100, 0]
    assert table["confidence"][0] == pytest.approx(0.9)
    assert np.isnan(table["confidence"][1])


def test_table3_by_hand(records):
    table = table3(i_att(records), [EPS], cells=[1, 2, 3])
    assert list(table.columns) == ["cells", "group", "n", "iou_ori_adv", "ci_low", "ci_high", "paper"]
    assert table["cells"].tolist() == [1, 1, 2, 2, 3, 3]
    assert table["n"].tolist() == [2, 1] * 3
    # k = 1: a shares none, b one; c one.  k = 2: a 1/3, b 2/2; c 1/3.  k = 3 is the whole map
    assert table["iou_ori_adv"].tolist() == pytest.approx([0.5, 1.0, (1 / 3 + 1) / 2, 1 / 3, 1, 1])


def test_several_eps_gain_a_first_column(records):
    both = pd.concat([records, records.assign(eps=0.5, adv_prediction=records["prediction"])])
    table = table1(i_att(both), [EPS, 0.5])
    assert table.columns[0] == "eps"
    assert table["eps"].tolist() == [EPS, EPS, 0.5, 0.5]
    assert table["n"].tolist() == [2, 1, 0, 3]


def test_two_methods_have_rows_of_their_own(records):
    half = records.assign(method="edges", iou_att_gt=records["iou_att_gt"] / 2)
    both = i_att(pd.concat([records.assign(method="grad-cam"), half]))
    table = table1(both, [EPS], methods=["grad-cam", "edges"])
    assert table.columns[0] == "method"
    assert table["method"].tolist() == ["grad-cam"] * 2 + ["edges"] * 2
    assert table["n"].tolist() == [2, 1] * 2
    assert table["percent"].tolist() == [75, 25] * 2
    assert table["iou_att_gt"].tolist() == pytest.approx([0.6, 0.6, 0.3, 0.3])


def test_no_image_at_all_gives_cells_of_n_0(records):
    nothing = i_att(records.iloc[:0])
    for table in (table1(nothing, [EPS]), table2(nothing, [EPS]), table3(nothing, [EPS])):
        assert (table["n"] == 0).all()
        assert table["ci_low"].isna().all()


def test_more_cells_than_the_map_has_are_refused(records):
    with pytest.raises(UserError, match=r"cells from 1 to 3, .* got 5"):
        table3(i_att(records), [EPS], cells=[5])


def test_bootstrap_interval_equals_the_plain_one():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = bootstrap_interval(values)
    draws = np.random.default_rng(7).choice(values, (20_000, 400)).mean(1)
    assert [low, high] == pytest.approx(np.percentile(draws, [2.5, 97.5]).tolist(), abs=0.02)
    assert bootstrap_interval(values) == (low, high), "seeded"


def test_the_papers_numbers_stand_beside_the_papers_run_alone(records):
    options = {"data": "imagenet", "split": "val", "model": "inception_v3", "weights": "default", "images": 50_000}
    attack = {"objective": "least-likely", "steps": 1, "label_smoothing": 0.0, "sigma": None}
    options |= {"attack": attack, "target": {"grad-cam": "true", "lime": "predicted"}}
    manifest = {"options": options, "model": {"layer": "Mixed_7c"}}
    paper = published(manifest)
    assert paper == json.loads(files("attnlab.report").joinpath("paper.json").read_text())
    assert table1(i_att(records), [EPS], paper)["paper_iou_att_gt"].tolist() == [0.647, 0.701]
    assert table2(i_att(records), [EPS], paper)["paper_confidence"].tolist() == [0.8944, 0.7941]
    smoothed, predicted = {"attack": attack | {"label_smoothing": 0.1}}, {"target": {"grad-cam": "predicted"}}
    for other in ({"images": 500}, smoothed, predicted):
        assert published(manifest | {"options": options | other}) is None
    assert published(manifest | {"model": {"layer": "Mixed_6e"}}) is None


def test_table3_carries_the_papers_value_of_its_own_cells():
    shared = list(range(1, 65))
    images = pd.DataFrame({"shared_cells": [shared, shared], "group": ["succeed", "fail"], "eps": EPS})
    paper = json.loads(files("attnlab.report").joinpath("paper.json").read_text())
    table = table3(images, [EPS], paper, cells=[5, 7, 30])
    assert table["paper"].replace(np.nan, None).tolist() == [0.393, 0.574, None, None, 0.676, 0.807]
    assert "paper" in TABLES["table3"].lay_out(table).heads


def test_packaged_paper_numbers_equal_the_source(shared):
    source = json.loads((shared.parent / "paper" / "tables.json").read_text())
    assert json.loads(files("attnlab.report").joinpath("paper.json").read_text()) == source


def test_table2_takes_another_threshold(records):
    images = i_att(records)  # of IoU 0.4, 0.8, 0.6 and none
    counts = {below: table2(images, [EPS], below=below)["n"].sum() for below in (0.0, 0.4, 0.6, 0.7, 1.1)}
    assert counts == {0.0: 0, 0.4: 0, 0.6: 1, 0.7: 2, 1.1: 3}


@pytest.mark.parametrize("several", [False, True])
def test_latex_has_the_papers_layout(records, several):
    budgets = [EPS, 0.5] if several else [EPS]
    images = pd.concat([i_att(records).assign(eps=eps) for eps in budgets])
    text = as_latex(TABLES["table1"].lay_out(table1(images, budgets)), "50 % of x_1 & more")
    lines = text.splitlines()
    assert lines[3] == r"\caption{50 \% of x\_1 \& more}"
    assert r"\begin{tabular}{ccccc}" in text if several else r"\begin{tabular}{cccc}" in text
    rows = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert len(rows) == 2 * len(budgets)
    assert rows[0].removeprefix("16/255 & ") == r"75.0\% & 0.600 & 25.0\% & 0.600 \\"
    assert rows[1] == " & " * several + r" & {\scriptsize [0.400, 0.800]} &  &  \\"
    columns = {line.count("&") for line in lines if line.endswith(r"\\") and "multicolumn" not in line}
    assert columns == {4 if several else 3}


@pytest.mark.parametrize(("eps", "text"), [(16 / 255, "16/255"), (0.3, "0.3"), (0.5 / 255, "0.00196078")])
def test_eps_is_written_as_people_do(eps, text):
    assert as_fraction(eps) == text


def test_a_runs_tables_can_be_recomputed_to_the_digit_from_its_maps(run):
    report = write_tables(run)
    records = i_att(read_records(run))
    for (eps, group), images in records.groupby(["eps", "group"]):
        for k in (5, 30):
            values = []
            for first, second in zip(images["map"], images["adv_map"], strict=True):
                top = [set(np.argsort(-np.asarray(map_), kind="stable")[:k]) for map_ in (first, second)]
                values.append(len(top[0] & top[1]) / len(top[0] | top[1]))
            table = report.frames["table3"].set_index(["eps", "cells", "group"])
            assert table.loc[(eps, k, group), "iou_ori_adv"] == np.mean(values)


def test_tables_are_written_as_csv_and_latex(run):
    report = write_tables(run)
    for name, frame in report.frames.items():
        pd.testing.assert_frame_equal(pd.read_csv(run / "tables" / f"{name}.csv"), frame, check_dtype=False)
        assert r"\toprule" in (run / "tables" / f"{name}.tex").read_text()
    assert "resnet8, scenes val" in report.captions["table1"]
    assert "eps 4/255, 16/255" in report.captions["table1"]
    assert "200 of 200 images recorded" in report.summary[0]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no run\.json"):
        write_tables(tmp_path)


def test_a_run_of_a_newer_version_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"schema": 99, "attnlab": "9.9"}')
    with pytest.raises(UserError, match=r"newer attnlab \(9.9\)"):
        write_tables(tmp_path)


def test_a_damaged_run_is_named(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    part = copy / "records/part-00001.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged part"):
        write_tables(copy)


def test_a_folder_with_other_files_is_not_written_to(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="is no run"):
        open_run(tmp_path, {}, ATTENTION)


def test_a_part_that_cannot_be_written_whole_is_not_there(tmp_path, monkeypatch):
    run = begun_run(tmp_path)
    rows = [{"image_id": "a", "skipped": "why"}]
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        run.write_part(0, rows)
    assert list((tmp_path / "records").iterdir()) == []
