"""Runs of targeted attacks: what records, tables and pages say of them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from evaluations import MODELS
from twins import COUNT, IMAGES, logits_of, run_evaluation

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.config import AnalyzeConfig
from attnlab.manifests import read_manifest
from attnlab.pipelines.analyze import analyze
from attnlab.records import read_checks, read_evaluation, read_records
from attnlab.report.page.images import group_of
from attnlab.report.tables.accuracy import targeted
from attnlab.report.tables.export import make_tables
from attnlab.report.tables.iou import i_att
from attnlab.runs import Run

AIMED = {"clean": None, "pgd3": Attack(eps=8 / 255, steps=3, step_size=2 / 255, target=3)}


@pytest.fixture(scope="module")
def run(twins, tmp_path_factory):
    out = tmp_path_factory.mktemp("targeted") / "run"
    run_evaluation({"first": twins["first"]}, out, {"attacks": AIMED, "seed": 3, "check": True})
    return out


def test_records_say_the_target_and_leave_out_images_that_are_of_it(run, twins, scenes_batch):
    images, labels = scenes_batch
    predictions = logits_of(twins["first"], images).argmax(1)
    used = ((labels != 3) & (predictions != 3)).numpy()
    records = read_evaluation(run)
    attacked = records[records["attack"] == "pgd3"].set_index("image_id")
    assert attacked.index.tolist() == [name for name, kept in zip(IMAGES.image_ids[:COUNT], used, strict=True) if kept]
    assert 0 < (~used).sum() < COUNT
    assert (attacked["target"] == 3).all()
    assert records.loc[records["attack"] == "clean", "target"].isna().all()
    found = perturb(twins["first"], images, labels, AIMED["pgd3"])
    np.testing.assert_array_equal(attacked["prediction"], logits_of(twins["first"], found).argmax(1)[used])
    skipped = pd.read_csv(run / "skipped.csv").set_index("image_id")["reason"]
    assert len(skipped) == (~used).sum()
    assert skipped.str.contains("the attack's target, class 3, is its label").sum() == (labels == 3).sum()
    assert read_checks(run) == []
    assert read_manifest(run)["options"]["attacks"]["pgd3"]["target"] == 3
    with pytest.raises(ValueError, match="attacks pgd3 target was 3, is 4"):
        run_evaluation(
            {"first": twins["first"]}, run, {"attacks": AIMED | {"pgd3": replace(AIMED["pgd3"], target=4)}, "seed": 3}
        )


def test_the_tables_of_a_targeted_run(run):
    report = make_tables(Run(run))
    assert list(report.frames) == ["table6", "targeted"]
    assert "towards class 3;" in report.captions["targeted"]
    assert "95 %, Wilson" in report.captions["targeted"]
    records = read_evaluation(run).query("attack == 'pgd3' and clean_prediction == label")
    row = report.frames["targeted"].iloc[0]
    assert (row["target"], row["n"]) == ("class 3", len(records))
    assert row["success"] == pytest.approx(100 * (records["prediction"] == 3).mean())


def test_an_exported_table_has_the_target(run, attnlab, tmp_path):
    attnlab("export", "csv", run, "--out", tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out/records.csv")
    assert (rows.loc[rows["attack"] == "pgd3", "target"] == 3).all()
    assert rows.loc[rows["attack"] == "clean", "target"].isna().all()


def test_the_table_of_targeted_attacks_by_hand():
    rows = [
        ("plain", "pgd5", 0, 0, 3, 3, 2),  # reached
        ("plain", "pgd5", 1, 1, 0, 3, 1),  # reached on the way, and left again
        ("plain", "pgd5", 2, 2, 0, 3, np.nan),  # another class
        ("plain", "pgd5", 1, 1, 1, 3, np.nan),  # held
        ("plain", "pgd5", 1, 0, 3, 3, 1),  # wrong from the start
        ("plain", "clean", 1, 1, 1, np.nan, np.nan),
    ]
    names = ["model", "attack", "label", "clean_prediction", "prediction", "target", "steps_to_success"]
    row = targeted(pd.DataFrame(rows, columns=names), MODELS, {"pgd5": "class 3"}).iloc[0]
    assert (row["n"], row["success"], row["any_point"]) == (4, 25, 50)


def test_the_groups_of_an_analysis_are_by_the_target(resnet8, tmp_path):
    options = {"attack": "pgd4", "attack_target": "index:3", "eps": "8/255", "seed": 1, "model": "resnet8"}
    config = AnalyzeConfig.of(**options, out=tmp_path / "run", batch_size=8, workers=0, split="test")
    finished = analyze(config, resnet8, IMAGES, positions=range(COUNT))
    records = read_records(tmp_path / "run")
    assert (records["target"] == 3).all()
    assert not ((records["label"] == 3) | (records["prediction"] == 3)).any()
    groups = i_att(records)["group"]
    reached = i_att(records)["adv_prediction"] == 3
    assert groups.tolist() == np.where(reached, "succeed", "fail").tolist()
    assert 0 < reached.sum() < len(groups)
    caption = make_tables(finished).captions["table3"]
    assert "I_succeed: the attack makes the prediction its target; I_fail: it does not" in caption
    assert "towards class 3" in caption
    assert json.loads((tmp_path / "run/run.json").read_text())["options"]["attack"]["target"] == 3


def test_the_page_puts_an_image_by_its_target_too():
    record = {"prediction": 0, "label": 0, "box_share": 1.0}
    shown = [group_of(record, {"prediction": made, "target": 2}, True) for made in (2, 1, 0)]
    assert shown == ["succeed", "fail", "fail"]
    assert group_of(record, {"prediction": 1, "target": None}, True) == "succeed"


def test_a_transfer_aims_by_the_source_and_succeeds_on_the_victim(twins, tmp_path, scenes_batch):
    images, _labels = scenes_batch
    aimed = replace(AIMED["pgd3"], target="likely:2")
    first, second = twins.values()
    run_evaluation({"first": first}, tmp_path / "r", {"attacks": {"pgd3": aimed}, "seed": 3}, source=second)
    records = read_evaluation(tmp_path / "r").set_index("image_id")
    targets = dict(zip(IMAGES.image_ids, logits_of(second, images).topk(2).indices[:, 1].tolist(), strict=False))
    assert records["target"].to_dict() == {name: targets[name] for name in records.index}
    assert (records["target"] != records["clean_prediction"]).all()
    assert (records["target"] != records["label"]).all()
    reached = records["prediction"] == records["target"]
    assert (records.loc[reached, "steps_to_success"] == 3).all()
    assert records.loc[~reached, "steps_to_success"].isna().all()
