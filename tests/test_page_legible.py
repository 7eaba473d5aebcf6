"""The report in a real browser, for every reader: contrast, names of what is shown, and text that stays text."""

import re
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import chelsea

from attnlab.config import AnalyzeConfig, EvaluateConfig
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.evaluate import evaluate
from attnlab.pipelines.replay import replay
from attnlab.report.page.write import write_report

HOSTILE = "<img src=x onerror='document.title=1'>.png"
HOSTILE_CLASS = "</script><script>document.title=1</script>"
LOW_CONTRAST = Path(__file__).with_name("contrast.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 400])
def test_light_and_dark_can_be_read(visit, report, scheme, width):
    page = visit(report, color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    ink, paper = page.evaluate(
        "(({ color, backgroundColor }) => [color, backgroundColor])(getComputedStyle(document.body))"
    )
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (brightness[0] > brightness[1]) == (scheme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(LOW_CONTRAST) == []
    page.locator(".card").first.click()
    assert page.evaluate(LOW_CONTRAST) == []
    page.keyboard.press("Escape")
    page.click("#theme")
    turned = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert turned != paper
    assert page.evaluate(LOW_CONTRAST) == []


def test_every_picture_has_a_text_and_every_control_a_name(visit, report):
    page = visit(report)
    texts = page.eval_on_selector_all(".card img", "all => all.map((one) => one.alt)")
    assert texts[0] == "val-00000, clean: predicted 6"
    assert all(texts)
    nameless = page.eval_on_selector_all(
        "button, input, select, [role=img], dialog",
        "all => all.filter((one) => !(one.labels?.length || one.ariaLabel || one.textContent.trim() "
        "|| one.getAttribute('aria-labelledby'))).map((one) => one.outerHTML)",
    )
    assert nameless == []


def test_names_from_files_are_shown_as_text(visit, tmp_path):
    (tmp_path / "data").mkdir()
    Image.fromarray(chelsea()).save(tmp_path / "data" / HOSTILE)
    (tmp_path / "data/classes.txt").write_text("\n".join([*"012", HOSTILE_CLASS, *"456789"]))
    (tmp_path / "data/boxes.csv").write_text(f'image,label,x0,y0,x1,y1\n"{HOSTILE}",3,100,20,320,280\n')
    analyze(AnalyzeConfig.of(data="folder", root=tmp_path / "data", model="resnet8", out=tmp_path / "run"))
    page = visit(write_report(tmp_path / "run", replay(tmp_path / "run")))
    assert page.locator(".card .name").text_content() == HOSTILE
    page.locator(".card").click()
    assert page.locator("#view-name").inner_text() == HOSTILE
    assert HOSTILE_CLASS in page.locator("#view-group").inner_text()
    assert page.title() == "resnet8 on folder (val) · attnlab"
    assert page.locator("img[src=x]").count() == 0


def test_the_page_of_an_evaluation_works_without_images(visit, tmp_path):
    evaluate(EvaluateConfig.of(limit=8, attacks="clean,fgsm", out=tmp_path / "run"))
    page = visit(write_report(tmp_path / "run"), "#theme=dark")
    assert page.locator("table[data-table=table6] tbody tr").count() == 1
    assert page.locator("#distributions svg").count() == 2
    assert page.evaluate(LOW_CONTRAST) == []
    page.click("#theme")
    assert page.evaluate("location.hash") == "#theme=light"
    page.click("nav a[href='#tables']")
    assert page.evaluate("document.activeElement.id") == "tables"
