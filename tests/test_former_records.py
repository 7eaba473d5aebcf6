"""Runs of schema 2, which had one method that maps, are read value for value and resumed."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from common import analyze_images, begun_run

from attnlab.data import load_dataset
from attnlab.records import read_records, rows_of
from attnlab.runs import Run
from attnlab.schema import ATTENTION

LIME = pa.struct(
    {"class": pa.int32(), "samples": pa.int32(), "segments": pa.binary(), "weights": pa.list_(pa.float64())}
)
ADVERSARIAL = pa.struct(
    {
        "prediction": pa.int32(),
        "confidence": pa.float32(),
        "iou_att_gt": pa.float64(),
        "shared_cells": pa.list_(pa.int32()),
        "map": pa.list_(pa.float32()),
        "lime": LIME,
    }
)
FORMER = pa.schema(
    {
        "image_id": pa.string(),
        "skipped": pa.string(),
        "label": pa.int32(),
        "prediction": pa.int32(),
        "confidence": pa.float32(),
        "boxes": pa.list_(pa.list_(pa.float32())),
        "mask": pa.binary(),
        "dropped_boxes": pa.int32(),
        "box_share": pa.float32(),
        "iou_att_gt": pa.float64(),
        "map": pa.list_(pa.float32()),
        "lime": LIME,
        "lime_again": LIME,
        "adversarial": pa.list_(ADVERSARIAL),
    },
    metadata={"attnlab_schema": "2"},
)
EXPLAINED = {"class": 1, "samples": 5, "segments": b"..", "weights": [0.5, -1.0]}


def attacked(number: int, **more) -> dict:
    return {
        "prediction": number,
        "confidence": 0.25,
        "map": [1.0, number, 3.0, 4.0],
        "shared_cells": [0, 1, 3, 4],
        **more,
    }


def row(name: str, **more) -> dict:
    same = {
        "label": 1,
        "prediction": 1,
        "confidence": 0.5,
        "boxes": [[0, 0, 2, 3]],
        "dropped_boxes": 0,
        "box_share": 1.0,
    }
    return {"image_id": name, **same, "map": [0.5, -1.0, 0.25, 0.0], "iou_att_gt": 0.125, **more}


ROWS = [
    row("a", adversarial=[attacked(0, iou_att_gt=0.75, lime=EXPLAINED)], lime=EXPLAINED, lime_again=EXPLAINED),
    {"image_id": "gone", "skipped": "the file is empty"},
    row("constant", iou_att_gt=None, adversarial=[attacked(1, shared_cells=None)]),
    row("without a map", map=None, iou_att_gt=None, adversarial=[attacked(1, map=None, shared_cells=None)]),
]


def as_schema_2(run: Run) -> Run:
    manifest = {**run.manifest, "schema": 2}
    (run.folder / "run.json").write_text(json.dumps(manifest))
    return Run(run.folder, FORMER)


@pytest.fixture
def former(tmp_path) -> Run:
    run = as_schema_2(begun_run(tmp_path / "run"))
    run.write_part(0, ROWS[:2])
    run.append(1, ROWS[2:])
    return run


def test_the_map_of_a_run_of_schema_2_is_a_list_of_one(former):
    table = former.table()
    assert table.schema.equals(ATTENTION)
    first, skipped, constant, without = table.to_pylist()
    assert first["maps"] == [{"values": [0.5, -1.0, 0.25, 0.0], "iou_att_gt": 0.125, "full": None, "measures": None}]
    assert first["adversarial"][0]["maps"] == [
        {
            "values": [1.0, 0.0, 3.0, 4.0],
            "iou_att_gt": 0.75,
            "full": None,
            "measures": None,
            "shared_cells": [0, 1, 3, 4],
            "pair_measures": None,
        }
    ]
    assert first["lime"] == first["adversarial"][0]["lime"] == EXPLAINED | {"measures": None, "pair_measures": None}
    assert (skipped["maps"], skipped["adversarial"]) == (None, None)
    assert (constant["maps"][0]["iou_att_gt"], constant["adversarial"][0]["maps"][0]["shared_cells"]) == (None, None)
    assert without["maps"] == without["adversarial"][0]["maps"] == []
    assert former.table(["maps"])["maps"].equals(table["maps"])


def test_rows_and_frames_of_schema_2_are_what_they_were(tmp_path):
    run = as_schema_2(begun_run(tmp_path / "run"))
    run.write_part(0, ROWS[:3])
    first, constant = rows_of(run)
    for found, wanted in ((first, ROWS[0]), (constant, ROWS[2])):
        for name in ("map", "iou_att_gt", "boxes", "box_share", "confidence"):
            assert found[name] == wanted[name]
        for name in ("map", "shared_cells", "prediction", "confidence"):
            assert found["adversarial"][0][name] == wanted["adversarial"][0][name]
    frame = read_records(run.folder)
    assert frame["adv_map"].map(list).tolist() == [[1.0, 0.0, 3.0, 4.0], [1.0, 1.0, 3.0, 4.0]]
    assert frame["shared_cells"].map(lambda cells: None if cells is None else list(cells)).tolist() == [
        [0, 1, 3, 4],
        None,
    ]
    assert not {"method", "full", "measures", "pair_measures"} & set(frame)


def test_a_run_that_was_begun_under_schema_2_is_resumed(tmp_path, resnet8):
    options = {"part_size": 4, "batch_size": 4, "positions": range(8)}
    whole = analyze_images(resnet8, load_dataset("scenes"), tmp_path / "whole", **options)
    begun = analyze_images(resnet8, load_dataset("scenes"), tmp_path / "begun", **options)
    former, rows = as_schema_2(begun), list(rows_of(begun))[:4]
    begun.part(1).unlink()
    former.write_part(0, [{key: value for key, value in one.items() if key in FORMER.names} for one in rows])
    assert "map" in pa.parquet.read_schema(begun.part(0)).names
    analyze_images(resnet8, load_dataset("scenes"), tmp_path / "begun", **options)
    assert "maps" in pa.parquet.read_schema(begun.part(1)).names
    of_today = [
        one | (dict.fromkeys(("margin", "pixels_sha256")) if place < 4 else {})
        for place, one in enumerate(rows_of(whole))
    ]
    assert all(one["margin"] is not None for one in of_today[4:])
    assert list(rows_of(begun)) == of_today
