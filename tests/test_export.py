"""Exports as CSV, whose numbers are those of the records; and what is repeated, missing or refused in any format."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attnlab import read_evaluation, read_records
from attnlab.config import ExportConfig
from attnlab.exports import EXPORTS
from attnlab.exports.views import ClassNames
from attnlab.exports.write import export
from attnlab.report.outcomes import GROUPS
from attnlab.report.page.images import MISCLASSIFIED, WITHOUT_BOX
from attnlab.report.tables.iou import cell_ious

# ------------------------------------------------------------------ csv


def test_csv_has_the_numbers_of_read_records(exportable, tmp_path):
    (line,) = export("csv", exportable, ExportConfig(out=tmp_path / "csv"))
    assert line == f"{tmp_path}/csv/records.csv: 14 rows of 7 images"
    frame, records = pd.read_csv(tmp_path / "csv/records.csv"), read_records(exportable)
    names = {"confidence_clean": "confidence", "confidence_adversarial": "adv_confidence", "iou_clean": "iou_att_gt"}
    names |= {"iou_adversarial": "adv_iou_att_gt"}
    same = ("eps", "label", "prediction", "adv_prediction", "dropped_boxes", "box_share")
    for column, of_records in [*names.items(), *zip(same, same, strict=True)]:
        np.testing.assert_allclose(frame[column].astype(float), records[of_records].astype(float), rtol=1e-12)
    cells = cell_ious(records, [5, 30])
    np.testing.assert_allclose(frame[["cells_5", "cells_30"]], cells, rtol=1e-12)
    assert frame["image_id"].tolist() == [f"'{name}" if name[0] == "=" else name for name in records["image_id"]]
    assert frame["truth"].fillna("")[::2].tolist() == ["mask", "boxes", "mask", "boxes", "boxes", "boxes", ""]
    assert frame["boxes"][::2].tolist() == [1, 2, 1, 1, 1, 1, 0]


def test_groups_of_csv_follow_from_predictions_and_boxes(exportable):
    export("csv", exportable)
    frame = pd.read_csv(exportable / "export-csv/records.csv")
    for row in frame.itertuples():
        if row.prediction != row.label:
            wanted = MISCLASSIFIED
        elif not row.box_share > 0:
            wanted = WITHOUT_BOX
        else:
            wanted = GROUPS[0] if row.adv_prediction != row.prediction else GROUPS[1]
        assert row.group == wanted
    assert set(frame["group"]) >= {*GROUPS, MISCLASSIFIED}


def test_classes_of_csv_are_told_apart_and_no_formulas(exportable, tmp_path):
    export("csv", exportable, ExportConfig(out=tmp_path / "csv"))
    with (tmp_path / "csv/records.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {0: "crane (0)", 1: "crane (1)", 2: "'=2+3", 6: "six"}
    for index, name in ((int(row["label"]), row["class"]) for row in rows):
        assert name == names.get(index, name)
    assert {ClassNames(["crane, a", "crane, b", "x"])[number] for number in range(4)} == {
        "crane (0)",
        "crane (1)",
        "x",
        "class 3",
    }


def test_predictions_beyond_the_datas_classes_have_the_models_names(copied, evaluated, tmp_path):
    manifest = json.loads((copied / "run.json").read_text())
    names = manifest["data"]["classes"]
    manifest["data"]["classes"], manifest["model"]["labels"] = names[:2], [*names[:2], *(f"own {n}" for n in names[2:])]
    (copied / "run.json").write_text(json.dumps(manifest))
    export("csv", copied)
    frame = pd.read_csv(copied / "export-csv/records.csv")
    assert set(frame[frame["prediction"] == 6]["predicted_class"]) == {"own six"}
    export("coco", copied, ExportConfig(no_images=True))
    content = json.loads((copied / "export-coco/annotations.json").read_text())
    assert [one["name"] for one in content["categories"]][1:4] == ["crane (1)", "own =2+3", "own three"]
    run = Path(shutil.copytree(evaluated, tmp_path / "evaluated", ignore=shutil.ignore_patterns("export-*")))
    manifest = json.loads((run / "run.json").read_text())
    model, classes = next(iter(manifest["model"])), manifest["data"]["classes"]
    manifest["data"]["classes"] = classes[:1]
    manifest["model"][model]["labels"] = [classes[0], *(f"own {name}" for name in classes[1:])]
    (run / "run.json").write_text(json.dumps(manifest))
    export("csv", run)
    frame = pd.read_csv(run / "export-csv/records.csv")
    beyond = frame[(frame["model"] == model) & (frame["prediction"] > 0)]
    assert len(beyond)
    assert beyond["predicted_class"].str.startswith("own ").all()


def test_csv_of_an_evaluation_has_a_row_for_each_answer(evaluated, tmp_path):
    export("csv", evaluated, ExportConfig(out=tmp_path / "csv"))
    frame, records = pd.read_csv(tmp_path / "csv/records.csv"), read_evaluation(evaluated)
    columns = ["model", "image_id", "label", "clean_prediction", "attack", "prediction", "margin", "loss"]
    pd.testing.assert_frame_equal(
        frame[columns], records[columns], check_dtype=False, check_categorical=False, rtol=1e-12
    )
    np.testing.assert_array_equal(frame["steps_to_success"], records["steps_to_success"].astype(float))
    assert (frame["correct"] == (records["prediction"] == records["label"])).all()


# ------------------------------------------------------------------ what is repeated, missing or refused


def test_an_interrupted_export_is_completed_and_what_is_there_is_kept(copied):
    export("coco", copied)
    out = copied / "export-coco"
    kept, gone = out / "images/a.png.png", out / "adversarial/eps-4-255/maps/d.png.png"
    gone.unlink()
    (out / "annotations.json").unlink()
    os.utime(kept, (1, 1))
    export("coco", copied)
    assert gone.exists()
    assert (out / "annotations.json").exists()
    assert kept.stat().st_mtime == 1


def test_an_image_that_cannot_be_read_any_more_is_left_out_with_a_warning(copied, monkeypatch):
    from attnlab.data.base import FileSet
    from attnlab.errors import Unusable

    read = FileSet.read

    def failing(images, index):
        if images.image_ids[index] == "d.png":
            raise Unusable("cannot be read")
        return read(images, index)

    monkeypatch.setattr(FileSet, "read", failing)
    with pytest.warns(UserWarning, match=r"1 of 7 images .* cannot be read any more and are left out: d.png"):
        (line,) = export("coco", copied)
    assert "annotations.json: 6 images, 6 annotations; " in line
    content = json.loads((copied / "export-coco/annotations.json").read_text())
    assert [image["id"] for image in content["images"]] == list(range(1, 7))
    assert "d.png" not in {image["image_id"] for image in content["images"]}


def test_an_unfinished_run_is_exported_with_a_note(copied):
    manifest = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**manifest, "finished": None}))
    assert export("csv", copied)[-1] == "unfinished: 7 of 7 images so far; repeat the run's command to resume it"


def test_a_prediction_that_stands_for_a_label_is_not_exported_as_one(copied):
    manifest = json.loads((copied / "run.json").read_text())
    manifest["data"]["labels"] = "predicted"
    (copied / "run.json").write_text(json.dumps(manifest))
    note = "without labels: predictions of clean images stand for them"
    assert export("csv", copied)[-1] == note
    frame = pd.read_csv(copied / "export-csv/records.csv")
    assert frame[["label", "class"]].isna().all(axis=None)
    assert export("coco", copied, ExportConfig(no_images=True))[-1] == note
    content = json.loads((copied / "export-coco/annotations.json").read_text())
    assert not any("label" in image for image in content["images"])


def test_named_images_alone_are_exported(attnlab, copied):
    done = attnlab("export", "csv", copied, "--images", "a.png,d.png")
    assert (done.code, done.out) == (0, f"{copied}/export-csv/records.csv: 4 rows of 2 images\n")
    assert attnlab("export", "csv", copied, "--images", "a").error == f"{copied} has no record of image 'a'"


def test_what_cannot_be_exported_is_refused_in_one_line(attnlab, copied, evaluated, tmp_path):
    assert attnlab("export", "cocoo", copied).error == (
        "expected the format to be one of csv, coco, fiftyone, got 'cocoo'; did you mean 'coco'?"
    )
    assert attnlab("export", "csv", tmp_path).error == f"expected {tmp_path} to be a run, but it has no run.json"
    assert attnlab("export", "coco", evaluated).error == (
        f"expected a run of analyze for coco, got {evaluated}, one of evaluate, which is exported as csv"
    )
    assert attnlab("export", "csv", copied, "--no-images").error == (
        "expected --no-images with coco alone, got it with csv"
    )
    assert attnlab("export", "coco", copied, "--name", "x").error == (
        "expected --name with fiftyone alone, got it with coco"
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full/annotations.json").write_text("mine")
    assert attnlab("export", "coco", copied, "--out", tmp_path / "full").error == (
        f"{tmp_path}/full exists and is no export of {copied} as coco by this version; choose another --out"
    )
    assert (tmp_path / "full/annotations.json").read_text() == "mine"
    shutil.move(copied.parent / "data", tmp_path / "moved")
    message = attnlab("export", "coco", copied).error
    assert message.endswith("; --no-images writes annotations.json alone")
    assert attnlab("export", "coco", copied, "--root", tmp_path / "moved").code == 0
    part = copied / "records/part-00000.parquet"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 255
    part.write_bytes(content)
    assert "is a damaged part" in attnlab("export", "csv", copied).error


def test_formats_are_completed_and_explained(attnlab):
    from test_completion import offered

    assert offered("export", "") == list(EXPORTS)
    out = attnlab("export", "--help").out
    assert all(name in out for name in EXPORTS)
