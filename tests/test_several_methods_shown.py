"""A run of several methods as people see it: page, figures, overlays and exports name each method and show its maps."""

import csv
import json
import re

import numpy as np
import pytest
from common import analyze_images
from PIL import Image

from attnlab.config import ExportConfig
from attnlab.data import load_dataset
from attnlab.errors import UserError
from attnlab.exports.write import export
from attnlab.pipelines.replay import replay
from attnlab.records import read_records, rows_of
from attnlab.report.figures.analysis import seen_by
from attnlab.report.figures.overlays import write_overlays
from attnlab.report.figures.run import draw_run
from attnlab.report.page.write import write_report
from attnlab.runs import Run

METHODS = ("grad-cam", "layer-cam")


@pytest.fixture(scope="module")
def both(tmp_path_factory, resnet8):
    """Ten scenes by two methods and LIME, at two budgets."""
    options = {"model": "resnet8", "memory_format": "channels-last", "split": "val", "eps": "4/255,16/255"}
    lime = {"lime_samples": 20, "lime_superpixels": "grid", "lime_floor": False}
    out = tmp_path_factory.mktemp("both") / "run"
    method = ",".join((*METHODS, "lime"))
    analyze_images(resnet8, load_dataset("scenes"), out, positions=range(10), method=method, **options, **lime)
    return out


def test_a_row_shows_the_map_of_any_of_its_methods(both):
    manifest = Run(both).manifest
    for row in rows_of(Run(both)):
        assert set(row["maps"][1]) == {"values", "iou_att_gt", "full", "measures"}
        for number, method in enumerate(METHODS):
            seen = seen_by(row, method, manifest)
            assert (seen["map"], seen["iou_att_gt"]) == (
                row["maps"][number]["values"],
                row["maps"][number]["iou_att_gt"],
            )
            assert "maps" not in seen
        assert seen_by(row, "lime", manifest) is row


def test_figures_are_drawn_of_each_method_and_say_so(both, tmp_path):
    drawn = draw_run(
        both, lambda names: replay(both, names), ["figure1", "success-against-iou", "figure3"], out=tmp_path
    )
    assert list(drawn.captions) == [
        *(f"figure1-{method}-eps-{eps}" for method in METHODS for eps in ("4-255", "16-255")),
        *(f"success-against-iou-{method}" for method in METHODS),
        *(f"figure3-eps-{eps}" for eps in ("4-255", "16-255")),
    ]
    assert (
        "Maps of layer-cam; resnet8, scenes val, stepll, ε = 4/255. Images"
        in drawn.captions["figure1-layer-cam-eps-4-255"]
    )
    assert drawn.captions["success-against-iou-layer-cam"].endswith("maps of layer-cam.")


def test_overlays_are_of_each_method(both, tmp_path):
    names = ["val-00000", "val-00001"]
    assert write_overlays(both, replay(both, names), tmp_path, workers=1) == 2 * 2 * 3
    pictures = [np.asarray(Image.open(tmp_path / f"overlays/val-00000-{one}-clean.png")) for one in METHODS]
    assert (pictures[0] != pictures[1]).any()


def test_csv_has_a_row_for_each_method_and_lime_in_those_of_the_first(both, tmp_path):
    export("csv", both, ExportConfig(out=tmp_path / "all"))
    rows = list(csv.DictReader((tmp_path / "all/records.csv").open()))
    frame = read_records(both)
    assert [(row["image_id"], row["method"]) for row in rows] == list(
        zip(frame["image_id"], frame["method"], strict=True)
    )
    for row, iou in zip(rows, frame["adv_iou_att_gt"], strict=True):
        assert float(row["iou_adversarial"]) == iou
        if row["method"] == "layer-cam":
            assert row["lime_8"] == ""
    assert any(row["lime_8"] for row in rows)
    export("csv", both, ExportConfig(out=tmp_path / "one", method="layer-cam"))
    one = list(csv.DictReader((tmp_path / "one/records.csv").open()))
    assert [row["iou_clean"] for row in one] == [row["iou_clean"] for row in rows if row["method"] == "layer-cam"]
    assert "method" not in one[0]


def test_pictures_are_of_the_method_that_is_named(both, tmp_path):
    lines = export("coco", both, ExportConfig(out=tmp_path / "first", images=("val-00000",)))
    assert "maps and IoUs are of grad-cam, the first of grad-cam, layer-cam; --method names another" in lines
    export("coco", both, ExportConfig(out=tmp_path / "second", images=("val-00000",), method="layer-cam"))
    first, second = (np.asarray(Image.open(tmp_path / one / "maps/val-00000.png")) for one in ("first", "second"))
    assert (first != second).any()
    with pytest.raises(
        UserError, match=r"expected a method whose maps .* has \(grad-cam, layer-cam\), got 'eigen-cam'"
    ):
        export("coco", both, ExportConfig(out=tmp_path / "none", method="eigen-cam"))


@pytest.fixture(scope="module")
def page(both, tmp_path_factory):
    return write_report(both, replay(both), tmp_path_factory.mktemp("page") / "report.html")


def test_the_page_holds_the_numbers_and_maps_of_each_method(both, page):
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.S)[1])
    assert data["methods"] == list(METHODS)
    for image in data["images"]:
        for number, ending in enumerate(("", "@1")):
            frame = read_records(both, METHODS[number])
            rows = frame[frame["image_id"] == image["id"]]
            assert image["values"][f"iou_clean{ending}"] == rows["iou_att_gt"].iloc[0]
            assert image["values"][f"iou_adversarial{ending}"] == rows["adv_iou_att_gt"].tolist()
        (others,) = image["others"]
        assert len(others) == len(image["maps"]) == 3
        assert others != image["maps"]
    heads = [figure["name"] for figure in data["figures"] if figure["method"] == 1]
    assert heads[0] == "IoU with ground truth, layer-cam, clean"


def test_a_reader_switches_methods_or_sees_all_side_by_side(page, visit, expect):
    shown = visit(page)
    card = shown.locator(".card").first
    expect(card.locator(".map")).to_have_count(2)
    expect(card.locator(".rows")).to_contain_text("IoU with ground truth, grad-cam")
    shown.select_option("select[name=method]", "1")
    expect(card.locator(".rows")).to_contain_text("IoU with ground truth, layer-cam")
    expect(card.locator(".rows")).not_to_contain_text("grad-cam")
    expect(shown.locator("[data-method='0']").first).to_be_hidden()
    shown.select_option("select[name=method]", "all")
    expect(card.locator(".map")).to_have_count(4)
    expect(card.locator(".tiles .of-method")).to_have_text(list(METHODS))
    card.click()
    shown.locator("#methods button").nth(1).click()
    expect(shown.locator("#view-method")).to_have_text(" of layer-cam")
    assert "method=1" in shown.url
