"""The report: its numbers are the records', its pictures the images', its text nothing but text."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import Tables, data_of, pictures_of
from PIL import Image
from skimage.data import astronaut, chelsea

from attnlab.config import AnalyzeConfig, EvaluateConfig
from attnlab.errors import UserError
from attnlab.pipelines.analyze import analyze, open_analysis
from attnlab.pipelines.evaluate import evaluate
from attnlab.pipelines.replay import replay
from attnlab.records import read_evaluation, read_records
from attnlab.report.page.images import WITHOUT_BOX
from attnlab.report.page.pictures import as_jpeg, as_map, fit
from attnlab.report.page.write import open_page, write_report
from attnlab.report.tables import TABLES
from attnlab.report.tables.export import make_tables
from attnlab.report.tables.iou import i_att
from attnlab.runs import Run


@pytest.fixture(scope="module")
def page(report) -> str:
    return report.read_text()


@pytest.fixture(scope="module")
def lime_run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("lime") / "run"
    options = {"lime_samples": "80", "lime_superpixels": "grid", "lime_batch_size": 20, "features": (3, 5)}
    analyze(AnalyzeConfig.of(method="lime", limit=6, out=out, **options))
    return out


# ------------------------------------------------------------------ numbers


def test_tables_are_the_report_s(run, page):
    frames = make_tables(Run(run)).frames
    shown = Tables(page).tables
    assert list(frames) == [name for name in shown if name in TABLES]
    assert shown["table1"][0] == ["", "succeed", "fail"]
    assert shown["table1"][1] == ["ε", *["n", "share", "IoU with ground truth"] * 2]
    for row, (eps, expected) in zip(shown["table1"][2:], frames["table1"].groupby("eps"), strict=True):
        cells = ["4/255" if eps < 0.02 else "16/255"]
        for one in expected.itertuples():
            interval = f"[{one.ci_low:.3f}, {one.ci_high:.3f}]"
            cells += [str(one.n), f"{one.percent:.1f}%", f"{one.iou_att_gt:.3f} {interval}"]
        assert row == cells
    means = [cell.split()[0] for row in shown["table3"][2:] for cell in (row[3], row[5])]
    assert means == [f"{v:.3f}" for v in frames["table3"]["iou_ori_adv"]]


def test_figures_of_each_image_are_its_record_s(run, page):
    records = read_records(run)
    data = data_of(page)
    assert [image["id"] for image in data["images"]] == list(dict.fromkeys(records["image_id"]))
    for place, (_, of_eps) in enumerate(records.groupby("eps", sort=True)):
        for image, record in zip(data["images"], of_eps.to_dict("records"), strict=True):
            assert image["predictions"][0] == record["prediction"]
            assert image["predictions"][1 + place] == record["adv_prediction"]
            values = image["values"]
            assert values["confidence_clean"] == pytest.approx(record["confidence"])
            assert values["confidence_adversarial"][place] == pytest.approx(record["adv_confidence"])
            assert values["iou_adversarial"][place] == pytest.approx(record["adv_iou_att_gt"])
            shared = record["shared_cells"][9]
            assert values["cells_10"][place] == pytest.approx(shared / (20 - shared))


def test_groups_are_those_of_the_tables(run, page):
    images = i_att(read_records(run))
    for place, (_, of_eps) in enumerate(images.groupby("eps", sort=True)):
        expected = dict(zip(of_eps["image_id"], of_eps["group"], strict=True))
        shown = {image["id"]: image["groups"][place] for image in data_of(page)["images"]}
        assert {name: group for name, group in shown.items() if group in ("succeed", "fail")} == expected
        assert {group for name, group in shown.items() if name not in expected} <= {"misclassified", WITHOUT_BOX}


def test_lime_figures_average_to_tables_4_and_5(lime_run):
    data = data_of(write_report(lime_run).read_text())
    report = make_tables(Run(lime_run))
    for key, table, column in [("lime_clean_3", "table4", "iou_att_gt"), ("lime_5", "table5", "iou_ori_adv")]:
        frame = report.frames[table]
        frame = frame[frame["features"] == int(key[-1])].set_index("group")
        for group in ("succeed", "fail"):
            mine = [image["values"][key] for image in data["images"] if image["groups"][0] == group]
            flat = pd.Series([value[0] if isinstance(value, list) else value for value in mine], dtype=float)
            assert flat.mean() == pytest.approx(frame.loc[group, column], nan_ok=True)


def test_histograms_tell_number_and_mean_of_both_groups(run, page):
    images = i_att(read_records(run))
    of_eps = images[(images["eps"] > 0.02) & (images["group"] == "fail")]
    message = f"Histogram of IoU with ground truth, adversarial. succeed: .*; fail: {len(of_eps)} images, mean "
    assert re.search(f"{message}{of_eps['adv_iou_att_gt'].mean():.3f}", page)


def test_the_first_numbers_are_means_of_the_tables_images(run, page):
    images = i_att(read_records(run))
    of_eps = images[images["eps"] > 0.02]
    shown = re.search(r'<dl class="highlights" data-eps="16/255">(.*?)</dl>', page, re.DOTALL)[1]
    accuracy = 100 * images["image_id"].nunique() / 200
    moved = f"{of_eps['iou_att_gt'].mean():.3f} → {of_eps['adv_iou_att_gt'].mean():.3f}"
    shared = of_eps["shared_cells"].str[9]
    expected = [f"{accuracy:.1f} %", f"{100 * (of_eps['group'] == 'succeed').mean():.1f} %", moved]
    expected.append(f"{(shared / (20 - shared)).mean():.3f}")
    assert set(expected) <= set(re.findall("<dd>(.*?)</dd>", shown))


def test_the_paper_s_values_stand_beside_ours_in_numbers_and_on_the_bars(run, tmp_path):
    """The run's numbers under the name of the paper's run."""
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = json.loads((copied / "run.json").read_text())
    theirs = {"data": "imagenet", "split": "val", "model": "inception_v3", "weights": "default", "images": 50_000}
    manifest["options"] |= theirs
    manifest["model"]["layer"] = "Mixed_7c"
    (copied / "run.json").write_text(json.dumps(manifest))
    text = write_report(copied).read_text()
    shown = Tables(text).tables
    assert shown["table1"][-1] == ["paper", "", "74.1%", "0.647", "", "25.9%", "0.701"]
    assert shown["table3"][1] == ["ε", "cells", *["n", "IoU original / adversarial", "paper"] * 2]
    assert [row[4] for row in shown["table3"][2:4]] == ["0.393", "0.490"]
    theirs = [re.search(rf'id="of-table{number}".*?</figure>', text, re.DOTALL)[0] for number in (1, 2, 3)]
    bars = [bar for table in theirs for bar in re.findall(r'<svg class="bar".*?</svg>', table)]
    assert len(bars) == 2 * 2 * (1 + 1 + 4)
    assert all('class="paper"' in bar and 'class="interval"' in bar for bar in bars)


# ------------------------------------------------------------------ pictures


def test_pictures_are_the_images_that_were_measured(run, page):
    pictures = pictures_of(page)
    for shown, view in zip(pictures[:20], replay(run, [f"val-{n:05d}" for n in range(20)]), strict=True):
        pixels = [view.clean, *view.adversarial]
        away = np.array([[np.abs(np.asarray(picture) / 255 - one).mean() for one in pixels] for picture in shown])
        assert np.diag(away).max() < 0.025
        assert away.argmin(1).tolist() == [0, 1, 2]


def test_a_packed_map_has_the_values_within_half_a_level():
    values = np.random.default_rng(0).normal(size=64)
    zero, *levels = base64.b64decode(as_map(values.tolist()))
    scale = (values.max() - values.min()) / 255
    np.testing.assert_allclose((np.array(levels) - zero) * scale, values, atol=1.01 * scale)
    assert set(base64.b64decode(as_map([0.0, 0.0]))) == {0}
    assert base64.b64decode(as_map([-1.0, -0.5]))[0] == 255


def test_lime_areas_are_the_strongest_superpixels(lime_run):
    from attnlab.kept_maps import segments_of
    from attnlab.superpixels import area

    rows = {row["image_id"]: row for row in Run(lime_run).table().to_pylist()}
    for image in data_of(write_report(lime_run).read_text())["images"]:
        lime = rows[image["id"]]["lime"]
        if lime is None:
            assert "lime" not in image
            continue
        mask = Image.open(io.BytesIO(base64.b64decode(image["lime"][0]))).convert("RGBA")
        expected = area(np.asarray(lime["weights"]), segments_of(lime, (64, 64)), 3)
        assert np.array_equal(np.asarray(mask)[..., 3] > 0, expected)


def test_a_thousand_photographs_under_attack_fit_into_a_page():
    size, quality = fit(2000, (299, 299))
    noise = np.random.default_rng(0)
    sizes = []
    for photograph in (chelsea(), astronaut()):
        pixels = np.asarray(Image.fromarray(photograph).resize((299, 299))) / 255
        attacked = np.clip(pixels + 16 / 255 * noise.choice([-1, 1], pixels.shape), 0, 1)
        sizes.append(len(as_jpeg(pixels, size, quality)) + len(as_jpeg(attacked, size, quality)))
    assert min(size) >= 128
    assert 1000 * max(sizes) < 26e6  # leaves 4 kB an image for all else


def test_small_images_are_not_shrunk_and_few_are_hardly_compressed():
    assert fit(2000, (64, 64)) == ((64, 64), 95)
    assert fit(160, (299, 299)) == ((299, 299), 95)
    assert fit(100_000, (299, 224))[0] == (85, 64)


# ------------------------------------------------------------------ other runs


def test_a_page_without_pictures_needs_neither_data_nor_model(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "attnlab.data", None)
    text = write_report(run, None, tmp_path / "report.html").read_text()
    assert "made without pictures" in text
    assert len(data_of(text)["images"]) == 200
    assert '<script type="text/plain" id="pictures"></script>' in text


def test_an_unfinished_run_is_marked(run, page, tmp_path):
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**manifest, "finished": None}))
    (copied / "records/part-00001.parquet").unlink()
    text = write_report(copied).read_text()
    assert "<strong>Unfinished.</strong> 160 of 200 images recorded" in text
    assert "Unfinished" not in page


def test_a_run_without_maps_says_so(lime_run):
    text = write_report(lime_run, replay(lime_run)).read_text()
    assert "This run holds no maps" in text
    assert all("maps" not in image for image in data_of(text)["images"])


def test_an_evaluation_has_tables_6_and_7_and_no_images(tmp_path):
    run = evaluate(EvaluateConfig.of(limit=12, attacks="clean,fgsm,fgsm+a3", out=tmp_path / "run"))
    text = write_report(run.folder, iter([])).read_text()
    shown = Tables(text).tables
    table6, table7 = (make_tables(run).frames[name] for name in ("table6", "table7"))
    assert shown["table6"][0] == ["Model", "Defense", "n", "clean", "fgsm", "fgsm+a3"]
    expected = [f"{r.accuracy:.2f} [{r.ci_low:.2f}, {r.ci_high:.2f}]" for r in table6.itertuples()]
    assert shown["table6"][1] == ["resnet8", "none", "12", *expected]
    assert [cell.split()[0] for cell in shown["table7"][1][2:]] == [f"{v:.2f}" for v in table7["accuracy"]]
    assert "table6_worst" in shown
    assert 'id="gallery"' not in text
    assert open_page(run.folder).shown == []


def test_an_evaluation_has_a_histogram_of_each_attack_with_every_model(tmp_path):
    pooled = "nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))"
    (tmp_path / "net.py").write_text(f"from torch import nn\n\ndef build():\n    return {pooled}\n")
    options = {"models": ["resnet8", f"{tmp_path}/net.py:build"], "check": False, "out": tmp_path / "run"}
    run = evaluate(EvaluateConfig.of(limit=12, attacks="clean,fgsm", **options))
    text = write_report(run.folder).read_text()
    records = read_evaluation(run.folder)
    for (attack, _), rows in records.groupby(["attack", "model"]):
        mean = np.exp(-rows["loss"]).mean()
        assert re.search(f"Histogram of probability of the label, {attack}. .*: 12 images, mean {mean:.3f}", text)
    assert len(set(records["model"])) == 2
    assert text.count('<svg class="histogram"') == 2
    assert [text.count(f'<path class="series{number}"') for number in range(3)] == [2, 2, 0]


def test_skipped_images_and_hostile_names_are_listed_as_text(tmp_path):
    name = "<img src=x onerror=alert(1)>.png"
    (tmp_path / "data").mkdir()
    Image.fromarray(chelsea()).save(tmp_path / "data/cat.png")
    (tmp_path / f"data/{name}").write_bytes(b"no image")
    (tmp_path / "data/boxes.csv").write_text(f"image,label,x0,y0,x1,y1\ncat.png,3,100,20,320,280\n{name},1,0,0,5,5\n")
    job = open_analysis(AnalyzeConfig.of(data="folder", root=tmp_path / "data", model="resnet8", out=tmp_path / "run"))
    job.run(lambda count: None)
    text = write_report(tmp_path / "run", replay(tmp_path / "run")).read_text()
    assert "<img src=x" not in text
    assert Tables(text).tables["skipped"][1] == [name, "no image that Pillow can read"]


def test_a_run_of_unusable_images_alone_is_shown(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/no.png").write_bytes(b"no image")
    (tmp_path / "data/boxes.csv").write_text("image,label,x0,y0,x1,y1\nno.png,1,0,0,5,5\n")
    job = open_analysis(AnalyzeConfig.of(data="folder", root=tmp_path / "data", model="resnet8", out=tmp_path / "run"))
    with pytest.raises(UserError, match="the only image cannot be used: no image that Pillow can read"):
        job.run(lambda count: None)
    text = write_report(tmp_path / "run", replay(tmp_path / "run")).read_text()
    assert Tables(text).tables["skipped"][1] == ["no.png", "no image that Pillow can read"]
    assert 'id="gallery"' not in text


def test_the_command_to_repeat_is_shown(attnlab):
    assert attnlab("analyze", "--limit", 4, "--out", "my run").code == 0
    assert attnlab("report", "my run").code == 0
    assert "<code>attnlab analyze --limit 4 --out &#39;my run&#39;</code>" in Path("my run/report.html").read_text()


def test_the_report_is_made_without_torch():
    code = "import sys, attnlab.report.page.write; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
