"""The report in a real browser: what its controls do."""

import json
from pathlib import Path

import pandas as pd

from attnlab.config import AnalyzeConfig
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.replay import replay
from attnlab.records import read_records
from attnlab.report.page.write import write_report
from attnlab.report.tables.iou import i_att


def shown(page) -> list[str]:
    """Names of the images that fit, in order, after all cards were drawn."""
    while page.locator(".card").count() < int(page.locator("#count").inner_text().split()[0].replace(",", "")):
        page.locator(".card").last.scroll_into_view_if_needed()
        page.wait_for_timeout(30)
    return page.locator(".card .name").all_text_contents()


def records_of(run: Path, eps: float) -> pd.DataFrame:
    records = read_records(run)
    records = records[(records["eps"] - eps).abs() < 1e-6].set_index("image_id", drop=False)
    return records.assign(group=i_att(records)["group"])


def values(records: pd.DataFrame, names: list[str], column: str) -> list[float]:
    return records.loc[names, column].tolist()


def test_all_images_are_shown_and_nothing_is_asked_for(visit, run, report):
    page = visit(report)
    assert page.locator("#count").inner_text() == "200 of 200 images"
    assert page.locator(".card").count() < 60  # drawn as the page is scrolled
    assert shown(page) == records_of(run, 4 / 255)["image_id"].tolist()
    drawn = "[...document.images].every((image) => image.hidden || !image.src || image.naturalWidth === 64)"
    while not page.evaluate(drawn):
        page.wait_for_timeout(30)


def test_filters_choose_what_the_records_say(visit, run, report):
    page = visit(report)
    records = records_of(run, 16 / 255)
    page.select_option("[name=eps]", "16/255")
    page.check("[name=group][value=succeed]", force=True)
    assert shown(page) == records.query("group == 'succeed'")["image_id"].tolist()
    page.select_option("[name=class]", "3")
    assert shown(page) == records.query("group == 'succeed' and label == 3")["image_id"].tolist()
    page.click("#all")
    page.select_option("[name=figure]", "iou_adversarial")
    page.fill("[name=low]", "0.3")
    page.fill("[name=high]", "0.45")
    inside = records[records["adv_iou_att_gt"].between(0.3, 0.45)]
    assert 5 < len(inside) < 100
    assert shown(page) == inside["image_id"].tolist()
    page.click("#all")
    page.fill("[name=text]", "VAL-0012")
    assert shown(page) == [f"val-{n:05d}" for n in range(120, 130)]
    page.fill("[name=text]", "nothing like it")
    assert page.locator("#empty").is_visible()


def test_sorting_follows_the_records_both_ways(visit, run, report):
    page = visit(report)
    records = records_of(run, 4 / 255)
    page.select_option("[name=sort]", "iou_adversarial")
    rising = values(records, shown(page), "adv_iou_att_gt")
    known = [value for value in rising if value == value]
    assert known == sorted(known)
    assert rising[: len(known)] == known  # those without a value are the last
    page.select_option("[name=order]", "down")
    falling = values(records, shown(page), "adv_iou_att_gt")
    assert falling[: len(known)] == known[::-1]


def test_another_eps_shows_its_figures_groups_and_distributions(visit, run, report):
    page = visit(report)
    for text, eps in [("4/255", 4 / 255), ("16/255", 16 / 255)]:
        page.select_option("[name=eps]", text)
        record = records_of(run, eps).iloc[0]
        card = page.locator(".card").first
        assert card.locator(".badge").text_content() == (
            record["group"] if record["group"] == record["group"] else "misclassified"
        )
        row = card.locator(".rows span").all_text_contents()
        assert row[row.index("label's confidence") + 2] == f"{record['adv_confidence']:.3f}"
        assert [chart.get_attribute("data-eps") for chart in page.locator(".charts:visible").all()] == [text]


def test_an_image_opens_large_with_its_figures_and_closes_again(visit, expect, run, report):
    page = visit(report)
    page.locator(".card").nth(3).click()
    record = records_of(run, 4 / 255).iloc[3]
    assert page.locator("#view-name").inner_text() == record["image_id"]
    message = page.locator("#view-figures").inner_text()
    assert f"IoU with ground truth\t{record['iou_att_gt']:.3f}\t{record['adv_iou_att_gt']:.3f}" in message
    assert page.locator("#stage svg rect.over").count() == len(record["boxes"])
    page.keyboard.press("Escape")
    assert page.locator("#view").is_hidden()
    expect(page.locator(".card[data-at='3']")).to_be_focused()


def test_the_slider_divides_clean_from_adversarial(visit, report):
    page = visit(report)
    page.locator(".card").first.click()
    slide = page.locator("#slide")
    slide.focus()
    page.keyboard.press("Home")
    assert clips(page) == ["inset(0px 100% 0px 0px)", "inset(0px 0px 0px 0%)"]  # all adversarial
    page.keyboard.press("ArrowRight")
    assert slide.input_value() == "1"
    assert page.locator("#view-place").inner_text() == "1 of 200"
    frame = page.locator("#stage").bounding_box()
    page.mouse.click(frame["x"] + 0.75 * frame["width"], frame["y"] + frame["height"] / 2)
    assert slide.input_value() == "75"
    assert clips(page)[0] == "inset(0px 25% 0px 0px)"
    sources = [page.locator(f"[data-of={of}] img").get_attribute("src") for of in ("clean", "adversarial")]
    assert sources[0] != sources[1]


def clips(page) -> list[str]:
    return page.eval_on_selector_all("#stage .layer", "all => all.map((one) => getComputedStyle(one).clipPath)")


def test_maps_are_drawn_where_the_records_have_their_highest_cell(visit, run, report):
    page = visit(report)
    brightest = """(canvas) => {
      const { width, height } = canvas;
      const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
      const sums = Array.from({ length: width * height }, (_, n) => data[4 * n] + data[4 * n + 1]);
      const at = sums.indexOf(Math.max(...sums));
      return [Math.floor(at / width) / height, (at % width) / width];
    }"""
    for card, (_, record) in zip(page.locator(".card").all(), records_of(run, 4 / 255)[:5].iterrows(), strict=False):
        for canvas, name in zip(card.locator("canvas").all(), ("map", "adv_map"), strict=True):
            row, column = canvas.evaluate(brightest)
            cells = record[name].reshape(8, 8)
            assert cells[int(row * 8), int(column * 8)] >= 0.95 * cells.max()


def test_the_keyboard_is_enough(visit, expect, report):
    page = visit(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "gallery"
    reached = []
    while not reached or reached[-1] != "card":
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.className"))
    wanted = ["group", "text", "class", "maps", "boxes", "figure", "low", "high", "sort", "order"]
    assert [name for name in reached if name in wanted] == wanted
    columns = page.evaluate("getComputedStyle(document.getElementById('cards')).gridTemplateColumns.split(' ').length")
    for key, at in [("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns)]:
        page.keyboard.press(key)
        assert page.evaluate("Number(document.activeElement.dataset.at)") == at
    page.keyboard.press("Enter")
    for key, name in [("ArrowRight", columns + 1), ("ArrowLeft", columns), ("ArrowLeft", columns - 1)]:
        page.keyboard.press(key)
        assert page.locator("#view-name").inner_text() == f"val-{name:05d}"
    page.keyboard.press("Escape")
    expect(page.locator(f".card[data-at='{columns - 1}']")).to_be_focused()  # the browser closes in a while


def test_the_fragment_restores_what_was_seen(visit, expect, report):
    page = visit(report)
    page.select_option("[name=eps]", "16/255")
    page.check("[name=group][value=fail]", force=True)
    page.select_option("[name=sort]", "cells_10")
    page.select_option("[name=order]", "down")
    page.fill("[name=low]", "0.2")
    page.uncheck("[name=boxes]")
    page.click("#theme")
    page.locator(".card").nth(2).click()
    page.fill("#slide", "20")
    fragment = page.evaluate("location.hash")
    again = visit(report, fragment)
    looks = "['#count', '#view-name', '.card .name'].flatMap((of) => [...document.querySelectorAll(of)].slice(0, 12))"
    assert again.evaluate(f"{looks}.map((one) => one.textContent)") == page.evaluate(
        f"{looks}.map((one) => one.textContent)"
    )
    assert again.locator("#view").is_visible()
    assert again.locator("#slide").input_value() == "20"
    assert again.evaluate("document.documentElement.dataset.theme") == "dark"
    assert not again.is_checked("[name=boxes]")
    assert again.evaluate("location.hash") == fragment
    again.evaluate("location.hash = ''")  # as the browser's back button does
    expect(again.locator("#count")).to_have_text("200 of 200 images")
    assert again.locator("#view").is_hidden()


def test_a_fragment_of_nonsense_shows_all(visit, report):
    page = visit(report, "#eps=9&group=x&sort=%3Cb%3E&order=&low=a&open=nobody&theme=red&slide=x")
    assert page.locator("#count").inner_text() == "200 of 200 images"


def test_lime_areas_and_a_page_without_pictures(visit, tmp_path):
    options = {"lime_samples": "80", "lime_superpixels": "grid", "lime_batch_size": 20}
    analyze(AnalyzeConfig.of(method="grad-cam,lime", limit=4, out=tmp_path / "run", **options))
    page = visit(write_report(tmp_path / "run", replay(tmp_path / "run")))
    assert page.locator(".card").first.locator(".tile").count() == 6
    page.uncheck("[name=lime]")
    assert page.locator(".card").first.locator(".tile").count() == 4
    page.locator(".card").first.click()
    assert page.locator("#stage .lime").first.is_hidden()
    page.get_by_label("LIME area", exact=True).check()
    assert page.locator("#stage .lime").first.is_visible()
    bare = visit(write_report(tmp_path / "run", None, tmp_path / "bare.html"))
    assert bare.locator(".card").first.locator(".tile").count() == 4
    assert bare.locator(".card img").count() == 0
    bare.locator(".card").first.click()
    assert bare.locator("#stage .heat").first.is_visible()
    assert json.loads(bare.locator("#data").text_content())["superpixels"] == 8


def on_a_phone(visit, report):
    page = visit(report)
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    return page


def test_on_a_phone_the_images_are_within_two_screens_and_links_unfold_what_is_above(visit, expect, report):
    page = on_a_phone(visit, report)
    assert page.locator(".card").first.bounding_box()["y"] < 2 * 844
    assert page.locator("[name=sort]").is_hidden()
    page.click("#filters")
    assert page.locator("[name=sort]").is_visible()
    assert page.locator("[data-table=table1]").is_hidden()
    page.click("nav a[href='#tables']")
    assert page.locator("[data-table=table1]").is_visible()
    scroll = page.locator(".scroll", has=page.locator("[data-table=table1]"))
    expect(scroll).to_contain_class("wider")
    assert "swipe" in scroll.evaluate("one => getComputedStyle(one, '::before').content")
    assert page.evaluate("document.documentElement.scrollWidth") == 390  # the page itself does not scroll sideways


def test_on_a_phone_the_large_view_has_its_buttons_under_the_thumb_and_closes_by_a_tap_outside(visit, report):
    page = on_a_phone(visit, report)
    page.locator(".card").first.click()
    for name in ("before", "after", "close"):
        box = page.locator(f"#{name}").bounding_box()
        assert min(box["width"], box["height"]) >= 44
        assert box["y"] > 844 * 2 / 3
        assert box["y"] + box["height"] <= 844
    page.click("#after")
    assert page.locator("#view-place").inner_text() == "2 of 200"
    page.mouse.click(195, 30)
    assert page.locator("#view").is_hidden()


def test_on_a_desk_nothing_is_folded(visit, report):
    page = visit(report)
    assert page.locator("[data-table=table1]").is_visible()
    assert page.locator("[name=sort]").is_visible()
    assert page.locator("#filters").is_hidden()
