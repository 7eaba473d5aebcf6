"""Exports as COCO: truth and attributes are those of the records, pictures those that were measured."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import BUDGETS
from PIL import Image
from torch.nn import functional

from attnlab.boxes import ground_truth
from attnlab.config import AnalyzeConfig, ExportConfig
from attnlab.exports.coco import runs_of
from attnlab.exports.views import ClassNames
from attnlab.exports.write import export
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.replay import replay
from attnlab.records import rows_of
from attnlab.runs import Run


@pytest.fixture(scope="module")
def coco(exportable) -> Path:
    """The export as coco of the analysis of `exports`."""
    export("coco", exportable)
    return exportable / "export-coco"


def test_truth_of_coco_equals_pycocotools(exportable, coco):
    read = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed").COCO(
        coco / "annotations.json"
    )
    records = list(rows_of(Run(exportable)))
    assert sorted(read.getImgIds()) == list(range(1, 8))
    for number, record in enumerate(records, 1):
        (image,) = read.loadImgs(number)
        assert (image["image_id"], image["width"], image["height"]) == (record["image_id"], 64, 64)
        found = read.loadAnns(read.getAnnIds(number))
        assert {one["category_id"] for one in found} <= {record["label"]}
        if record["mask"]:
            (one,) = found
            truth = ground_truth(record, 64, 64)
            np.testing.assert_array_equal(read.annToMask(one), truth)
            x, y, width, height = one["bbox"]
            inside = np.zeros_like(truth)
            inside[int(y) : int(y + height), int(x) : int(x + width)] = True
            assert (truth <= inside).all()
            assert [truth[:, int(x)].any(), truth[:, int(x + width) - 1].any()] == [True, True]
            assert one["area"] == truth.sum()
        else:
            corners = [[x, y, x + width, y + height] for x, y, width, height in (one["bbox"] for one in found)]
            assert corners == record["boxes"]
            assert [one["segmentation"] for one in found] == [[]] * len(found)
    assert [category["name"] for category in read.loadCats([0, 1, 2])] == ["crane (0)", "crane (1)", "=2+3"]
    assert [len(read.getAnnIds(number)) for number in range(1, 8)] == [1, 2, 1, 1, 1, 1, 0]


def test_attributes_of_coco_are_those_of_the_records(exportable, coco):
    content = json.loads((coco / "annotations.json").read_text())
    attacked = json.loads((coco / "adversarial/eps-16-255/annotations.json").read_text())
    names = ClassNames([category["name"] for category in content["categories"]])
    for image, other, record in zip(content["images"], attacked["images"], rows_of(Run(exportable)), strict=True):
        assert image["prediction"] == names[record["prediction"]]
        assert image["label_confidence"] == record["confidence"]
        for index, ending in enumerate(["eps_4_255", "eps_16_255"]):
            assert image[f"prediction_{ending}"] == names[record["adversarial"][index]["prediction"]]
            assert image.get(f"iou_{ending}") == record["adversarial"][index]["iou_att_gt"]
        assert other["prediction"] == image["prediction_eps_16_255"]
        assert (other["clean_prediction"], other["eps"]) == (image["prediction"], BUDGETS[1])
    assert [one["bbox"] for one in attacked["annotations"]] == [one["bbox"] for one in content["annotations"]]
    assert content["annotations"][0]["attributes"].items() <= content["images"][0].items()


def test_pictures_are_the_images_and_maps_that_were_measured(exportable, coco):
    for view in replay(exportable):
        name = view.record["image_id"]
        shown = [np.asarray(Image.open(place / f"images/{name}.png")) for place in folders(coco)]
        np.testing.assert_array_equal(shown[0], (view.clean * 255).round())
        for eps, levels, pixels in zip(BUDGETS, shown[1:], view.adversarial, strict=True):
            assert np.abs(levels.astype(int) - shown[0]).max() <= round(eps * 255)
            assert np.abs(levels - pixels * 255).max() <= 0.5 + 1e-3
        maps = [np.asarray(Image.open(place / f"maps/{name}.png")) for place in folders(coco)]
        highest = max(max(row["map"]) for row in (view.record, *view.record["adversarial"]))
        for levels, row in zip(maps, (view.record, *view.record["adversarial"]), strict=True):
            assert levels.shape == (64, 64)
            cells = torch.tensor(row["map"]).reshape(1, 1, 8, 8) / highest
            wanted = functional.interpolate(cells, (64, 64), mode="bilinear")[0, 0].clamp(min=0).numpy()
            assert np.abs(levels - 255 * wanted).max() <= 0.5 + 1e-3


def folders(coco: Path) -> list[Path]:
    return [coco, coco / "adversarial/eps-4-255", coco / "adversarial/eps-16-255"]


def test_the_analysis_of_an_export_is_that_of_the_run(exportable, coco, tmp_path):
    how = {"data": "coco", "root": coco, "model": "resnet8", "device": "cpu", "workers": 0, "eps": BUDGETS}
    again = analyze(AnalyzeConfig.of(out=tmp_path / "again", **how))
    rows = {row["image_id"]: row for row in rows_of(again)}
    originals = [row for row in rows_of(Run(exportable)) if row["mask"] or row["boxes"]]
    assert rows.keys() == {f"{row['image_id']}.png" for row in originals}
    for record in originals:
        read = rows[f"{record['image_id']}.png"]
        np.testing.assert_array_equal(ground_truth(read, 64, 64), ground_truth(record, 64, 64))
        assert bool(read["mask"]) == bool(record["mask"])
        assert record["mask"] or read["boxes"] == record["boxes"]
        for key in ("label", "prediction", "iou_att_gt", "box_share"):
            assert read[key] == pytest.approx(record[key], rel=1e-5), key
        assert read["confidence"] == pytest.approx(record["confidence"], rel=1e-4)
    assert again.manifest["data"]["classes"][:3] == ["crane (0)", "crane (1)", "=2+3"]


def test_data_that_name_no_classes_have_those_of_the_model(copied):
    manifest = json.loads((copied / "run.json").read_text())
    manifest["data"]["classes"] = []
    (copied / "run.json").write_text(json.dumps(manifest))
    export("coco", copied, ExportConfig(no_images=True))
    content = json.loads((copied / "export-coco/annotations.json").read_text())
    assert [one["name"] for one in content["categories"]] == [f"class {number}" for number in range(10)]
    assert [one["id"] for one in content["categories"]] == list(range(10))


@pytest.mark.parametrize("seed", range(4))
def test_runs_of_a_mask_equal_pycocotools(seed):
    masks = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    mask = np.random.default_rng(seed).random((5, 7)) < seed / 3
    coded = masks.frPyObjects(runs_of(mask), 5, 7)
    np.testing.assert_array_equal(masks.decode(coded), mask)


def test_runs_of_a_mask_go_down_the_columns_and_begin_outside():
    assert runs_of(np.array([[0, 1], [1, 1]], bool)) == {"size": [2, 2], "counts": [1, 3]}
    assert runs_of(np.array([[1, 0], [1, 0]], bool)) == {"size": [2, 2], "counts": [0, 2, 2]}


def test_without_images_coco_needs_no_data_and_no_torch_and_csv_neither(copied, coco):
    shutil.rmtree(copied.parent / "data")
    code = (
        "import sys; from pathlib import Path; from attnlab.config import ExportConfig; "
        "from attnlab.exports.write import export; run = Path(sys.argv[1]); "
        "print(*export('coco', run, ExportConfig(no_images=True)), *export('csv', run), sep='\\n'); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, copied], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{copied}/export-coco/annotations.json: 7 images, 7 annotations",
        f"{copied}/export-csv/records.csv: 14 rows of 7 images",
    ]
    assert (copied / "export-coco/annotations.json").read_text() == (coco / "annotations.json").read_text()
    assert {path.name for path in (copied / "export-coco").iterdir()} == {".attnlab-export", "annotations.json"}
