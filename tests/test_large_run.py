"""The page of a run of many images: it holds all numbers and some pictures."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from grown_runs import PART, grown
from pages import data_of, pictures_of

from attnlab.pipelines.replay import replay
from attnlab.records import rows_of
from attnlab.report.page import cards, choose
from attnlab.report.page.cards import read_gallery
from attnlab.report.page.columns import Columns, _packed
from attnlab.report.page.images import figures_of, numbers_of
from attnlab.report.page.write import open_page, write_report
from attnlab.runs import Run
from attnlab.views import ReplayedImage

LOW_CONTRAST = Path(__file__).with_name("contrast.js").read_text()


def views_of(run: Path, image_ids: list[str]) -> Iterator[ReplayedImage]:
    """Views whose pixels are all one colour."""
    for record in rows_of(Run(run), image_ids):
        pixels = np.full((64, 64, 3), 0.5, np.float32)
        yield ReplayedImage(record, pixels, [pixels] * len(record["adversarial"]))


@pytest.fixture(scope="module")
def large(run, tmp_path_factory) -> Path:
    """A run of more images than a page draws."""
    return grown(run, tmp_path_factory.mktemp("large") / "run", choose.LARGE + PART)


# ------------------------------------------------------------------ the page's numbers and choice


def unpacked(packed: dict[str, str]) -> np.ndarray:
    (kind,) = set(packed) - {"table"}
    numbers = np.frombuffer(base64.b64decode(packed[kind]), f"<{kind}")
    return np.frombuffer(base64.b64decode(packed["table"]), "<f8")[numbers] if "table" in packed else numbers


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.random.default_rng(0).random(3000), "f8"),
        (np.random.default_rng(0).random(3000, np.float32), "f4"),
        (np.random.default_rng(0).integers(0, 900, 9000), "u2"),
        (np.array([0.1, np.nan, 0.7] * 100), "u1"),
        (np.array([]), "f4"),
        (np.array([np.nan, 1e-300]), "f8"),
    ],
)
def test_numbers_are_packed_without_rounding(values, kind):
    packed = _packed(values)
    assert kind in packed
    np.testing.assert_array_equal(unpacked(packed), values)


def test_the_page_of_a_large_run_holds_the_numbers_of_all_images(large, tmp_path):
    page = write_report(large, None, tmp_path / "page.html").read_text()
    data, rows = data_of(page), list(rows_of(Run(large)))
    columns = data["columns"]
    assert columns["ids"] == [row["image_id"] for row in rows]
    assert unpacked(columns["labels"]).tolist() == [row["label"] for row in rows]
    assert unpacked(columns["values"]["iou_clean"][0]).tolist() == [row["iou_att_gt"] for row in rows]
    for index in range(2):
        attacked = [row["adversarial"][index] for row in rows]
        got = unpacked(columns["values"]["confidence_adversarial"][index])
        assert got.tolist() == [row["confidence"] for row in attacked]
        predictions = unpacked(columns["predictions"][1 + index])
        assert predictions.tolist() == [row["prediction"] for row in attacked]
    assert len(data["images"]) == len(data["places"]) < 1000
    assert [columns["ids"][place] for place in data["places"]] == [image["id"] for image in data["images"]]


def test_images_are_chosen_of_each_outcome_and_rank_and_from_both_ends(large):
    gallery = read_gallery(Run(large))
    columns = gallery.columns
    chosen = {columns.ids.index(name) for name in gallery.shown}
    assert [columns.ids.index(name) for name in gallery.shown] == sorted(chosen) == choose.choose(columns)
    for columns_of_figure in columns.values.values():
        for values in map(np.asarray, columns_of_figure):
            ranked = [int(at) for at in np.argsort(values, kind="stable") if not np.isnan(values[at])]
            assert chosen.issuperset(ranked[:4] + ranked[-4:])
    groups, ious = np.asarray(columns.groups[0]), np.asarray(columns.values["iou_clean"][0])
    for code in set(groups.tolist()):
        members = np.flatnonzero(groups == code)
        for part in np.array_split(members[np.argsort(ious[members])], 10):
            assert len(chosen.intersection(part.tolist())) >= min(12, len(part))
    assert choose.rule(columns, ["4/255", "16/255"]).startswith(
        "of each outcome of the attack at ε 4/255, ranked by IoU with ground truth, clean, 12 at random of each tenth "
        "and of those without it (seed 0); of each figure at each ε the 4 lowest"
    )


def test_without_boxes_images_are_ranked_by_confidence_and_few_are_all_chosen(run):
    manifest = Run(run).manifest
    manifest["data"]["has_boxes"] = False
    columns = Columns(figures_of(manifest), 2)
    for row in list(rows_of(Run(run)))[:20]:
        columns.add(numbers_of(row, manifest, columns.figures))
    assert choose.choose(columns) == list(range(20))
    assert "ranked by label's confidence, clean," in choose.rule(columns, [])


def test_only_the_chosen_are_drawn_and_asked_for(large, tmp_path):
    page = open_page(large, tmp_path / "page.html")
    text = page.write(views_of(large, [*page.shown[:30], "image-000001"])).read_text()
    assert [image["id"] for image in data_of(text)["images"]] == page.shown[:30]
    assert len(pictures_of(text)) == 30
    assert f"{len(page.shown) - 30} of {len(page.shown)} images" in text


def test_at_the_limit_a_page_draws_all(run, tmp_path, monkeypatch):
    folder = grown(run, tmp_path / "run", 3 * PART)
    monkeypatch.setattr(cards, "LARGE", 299)
    assert len(open_page(folder).shown) < 300
    monkeypatch.setattr(cards, "LARGE", 300)
    assert len(open_page(folder).shown) == 300


# ------------------------------------------------------------------ named images


def test_named_images_have_a_page_of_their_own(attnlab, run, tmp_path):
    done = attnlab("report", run, "--images", "val-00007,val-00003", "--out", "some.html")
    assert done.out.startswith("some.html: ")
    text = Path("some.html").read_text()
    assert [image["id"] for image in data_of(text)["images"]] == ["val-00003", "val-00007"]
    whole = replay(run, ["val-00003", "val-00007"])
    assert [len(line) for line in pictures_of(text)] == [1 + len(view.adversarial) for view in whole]
    assert "2 images, as named; the page of the whole run is another: attnlab report " in text
    assert 'id="tables"' not in text
    assert not re.search('<svg class="histogram"', text)


def test_named_images_go_beside_the_page_of_the_run(run, tmp_path):
    assert open_page(run, images=["val-00003"]).path == run / "report-images.html"


def test_names_that_cannot_be_drawn_are_refused(attnlab, run, evaluated):
    assert attnlab("report", run, "--images", "val-00003,nobody").error == f"{run} has no record of image 'nobody'"
    assert attnlab("report", evaluated, "--images", "a").error.startswith("expected a run of `analyze` for --images")
    assert attnlab("report", run, "--images", "a", "--no-images").code == 2
    assert attnlab("report", run, "--images", ",").code == 2


# ------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def large_page(large, tmp_path_factory) -> Path:
    page = open_page(large, tmp_path_factory.mktemp("page") / "page.html")
    return page.write(views_of(large, page.shown))


def names(page) -> list[str]:
    return page.locator(".card .name").all_text_contents()


def test_all_are_filtered_and_sorted_and_the_drawn_ones_come_first(visit, large, large_page):
    page = visit(large_page)
    rows = list(rows_of(Run(large)))
    drawn = [image["id"] for image in data_of(large_page.read_text())["images"]]
    assert page.locator("#count").inner_text() == "2,100 of 2,100 images"
    assert names(page)[:12] == drawn[:12]
    assert page.locator(".card").first.locator("img").count() == 4
    page.select_option("[name=sort]", "iou_clean")
    rising = sorted(rows, key=lambda row: row["iou_att_gt"])
    assert names(page)[:12] == [row["image_id"] for row in rising[:12]]
    page.fill("[name=low]", "0.5")
    page.fill("[name=high]", "0.51")
    inside = [row["image_id"] for row in rising if 0.5 <= row["iou_att_gt"] <= 0.51]
    assert page.locator("#count").inner_text() == f"{len(inside)} of 2,100 images"
    page.click("#all")
    page.select_option("[name=sort]", "run")
    page.fill("[name=text]", "-00123")
    assert names(page) == [f"image-00123{last}" for last in range(10)]
    counted = page.locator("[data-count=misclassified]").inner_text()
    wrong = sum(row["prediction"] != row["label"] for row in rows)
    assert int(counted.replace(",", "")) == wrong > 0


def test_cards_are_in_the_document_a_page_at_a_time(visit, expect, large_page):
    page = visit(large_page)
    page.select_option("[name=sort]", "run")
    assert page.locator("#page").inner_text() == "1 to 480 of 2,100"
    assert page.locator("#page-before").is_disabled()
    page.click("#page-after")
    assert names(page)[0] == "image-000480"
    page.locator(".card").first.click()
    page.click("#before")
    assert page.locator("#view-name").inner_text() == "image-000479"
    page.keyboard.press("Escape")  # on the page before
    expect(page.locator(".card[data-at='479']")).to_be_focused()
    assert page.locator("#page").inner_text() == "1 to 480 of 2,100"
    assert page.locator(".card").count() <= 480
    page.fill("[name=text]", "-00123")
    assert page.locator("#pages").is_hidden()


def test_an_image_that_is_not_drawn_says_how_it_can_be(visit, large, large_page):
    page = visit(large_page)
    data = data_of(large_page.read_text())
    drawn = {image["id"] for image in data["images"]}
    undrawn = next(name for name in data["columns"]["ids"] if name not in drawn)
    page.fill("[name=text]", undrawn)
    assert page.locator(".card img").count() == 0
    page.locator(".card").click()
    assert page.locator("#undrawn code").inner_text() == f"attnlab report {large} --images {undrawn}"
    assert page.locator("#stage").is_hidden()
    page.keyboard.press("Escape")
    page.click("#all")
    page.locator(".card").first.click()
    assert page.locator("#undrawn").is_hidden()
    assert page.locator("#stage").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 400])
def test_the_large_page_can_be_read_in_light_and_dark(visit, large_page, scheme, width):
    page = visit(large_page, color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(LOW_CONTRAST) == []
    page.evaluate("document.querySelector('[name=sort]').value = 'run'")
    page.evaluate("document.getElementById('controls').dispatchEvent(new Event('input'))")
    page.locator(".card:not(:has(img))").first.click()
    assert page.locator("#undrawn").is_visible()
    assert page.evaluate(LOW_CONTRAST) == []
    page.keyboard.press("Escape")
    nameless = page.eval_on_selector_all("#pages, #pages button", "all => all.filter((one) => !one.textContent.trim())")
    assert nameless == []
