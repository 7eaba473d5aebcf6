"""Seeing a run's images again: what is shown is what was measured."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from common import analyze_images
from PIL import Image
from skimage.data import chelsea
from test_imagenet import plant

from attnlab.config import AnalyzeConfig
from attnlab.data import load_dataset
from attnlab.data.base import as_recorded
from attnlab.errors import UserError
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.provenance import describe_data
from attnlab.pipelines.replay import replay
from attnlab.runs import Run


def test_views_are_the_images_that_were_measured(run, resnet8):
    views = list(replay(run, batch_size=37))
    assert [view.record["image_id"] for view in views] == list(load_dataset("scenes").image_ids[:200])
    for place, key in [(None, "clean"), (0, "4/255"), (1, "16/255")]:
        pixels = np.stack([view.clean if place is None else view.adversarial[place] for view in views])
        seen = resnet8(torch.from_numpy(pixels).permute(0, 3, 1, 2)).softmax(1)
        rows = [view.record if place is None else view.record["adversarial"][place] for view in views]
        labels = torch.tensor([view.record["label"] for view in views])
        assert seen.argmax(1).tolist() == [row["prediction"] for row in rows], key
        confidence = seen.gather(1, labels[:, None])[:, 0].tolist()
        np.testing.assert_allclose(confidence, [row["confidence"] for row in rows], atol=1e-5)


def test_adversarial_views_lie_at_their_eps(run):
    for view in replay(run, list(load_dataset("scenes").image_ids[:5])):
        distances = [np.abs(one - view.clean).max() for one in view.adversarial]
        np.testing.assert_allclose(distances, [4 / 255, 16 / 255], atol=1e-6)


def test_views_come_in_the_order_of_the_run_each_once(run):
    names = load_dataset("scenes").image_ids
    views = list(replay(run, [names[180], names[3], names[180], names[77]], batch_size=2))
    assert [view.record["image_id"] for view in views] == [names[3], names[77], names[180]]


def test_random_starts_are_those_of_the_run(tmp_path, resnet8):
    from attnlab.attacks.parse import parse_attack

    options = {"split": "val", "model": "resnet8", "memory_format": "channels-last", "eps": "4/255", "seed": 5}
    analyze_images(
        resnet8, load_dataset("scenes"), tmp_path / "run", attack=parse_attack("pgd3"), **options, positions=range(40)
    )
    views = list(replay(tmp_path / "run"))
    seen = resnet8(torch.from_numpy(np.stack([view.adversarial[0] for view in views])).permute(0, 3, 1, 2))
    confidence = seen.softmax(1).gather(1, torch.tensor([[view.record["label"]] for view in views]))[:, 0]
    recorded = [view.record["adversarial"][0]["confidence"] for view in views]
    np.testing.assert_allclose(confidence.tolist(), recorded, atol=1e-5)
    assert any(first != second for first, second in pairwise(recorded))


def test_images_are_found_where_the_run_found_them(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    Image.fromarray(chelsea()).save(tmp_path / "photos/cat.png")
    (tmp_path / "photos/boxes.csv").write_text("image,label,x0,y0,x1,y1\ncat.png,3,100,20,320,280\n")
    monkeypatch.chdir(tmp_path)
    analyze(AnalyzeConfig.of(data="folder", root=Path("photos"), model="resnet8", out=tmp_path / "run"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (view,) = replay(tmp_path / "run")
    assert view.record["image_id"] == "cat.png"
    (tmp_path / "photos/boxes.csv").write_text("image,label,x0,y0,x1,y1\ncat.png,3,100,20,300,280\n")
    with pytest.raises(UserError, match="data sha256 was"):
        next(replay(tmp_path / "run"))


def older_run(out: Path, resnet8, data: str, root: Path) -> Path:
    """A run as an older version made it, which read boxes and pixels otherwise and said nothing of them."""
    images, _ = as_recorded(load_dataset(data, root), {})
    names = {"data": data, "split": "val", "model": "resnet8", "weights": "default"}
    description = {**names, "precision": "fp32", "memory_format": "channels-last"}
    analyze_images(resnet8, images, out, **description, root=root)
    assert not {"box_corners", "pixel_rule"} & set(json.loads((out / "run.json").read_text())["data"])
    return out


def test_an_older_run_of_turned_and_transparent_pictures_is_not_resumed_and_seen_as_it_read_them(tmp_path, resnet8):
    stored = np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos").mkdir()
    Image.fromarray(stored).save(tmp_path / "photos/a.png", exif=exif)
    (tmp_path / "photos/boxes.csv").write_text("image,label,x0,y0,x1,y1\na.png,3,10,20,30,60\n")
    run = older_run(tmp_path / "run", resnet8, "folder", tmp_path / "photos")
    with pytest.warns(UserWarning, match="as it read them, neither turned as EXIF says nor over white"):
        (view,) = replay(run)
    np.testing.assert_allclose(view.clean, stored[..., :3] / 255, atol=1e-6)
    assert view.record["boxes"] == [[10, 20, 30, 60]]
    now = load_dataset("folder", tmp_path / "photos").read(0).image
    assert np.abs(np.asarray(now) / 255 - view.clean).max() > 0.5
    with pytest.raises(UserError, match="data pixel_rule is new: 'turned upright as EXIF says, transparent parts over"):
        analyze(AnalyzeConfig.of(data="folder", root=tmp_path / "photos", model="resnet8", out=run))
    assert Run(run).table().num_rows == 1


def test_sets_whose_pixels_are_read_as_ever_say_no_rule(place):
    assert "pixel_rule" not in describe_data(load_dataset("mnist", place, "train"), [0])
    assert "pixel_rule" not in describe_data(load_dataset("scenes"), [0])


def test_boxes_of_an_older_imagenet_run_are_shown_as_stored_where_its_images_are_the_same(tmp_path, resnet8):
    root = plant(tmp_path / "data")
    with (root / "LOC_synset_mapping.txt").open("a") as file:  # ten classes, as the model has
        file.writelines(f"n0400000{number} thing\n" for number in range(7))
    run = older_run(tmp_path / "run", resnet8, "imagenet", root)
    with pytest.warns(UserWarning, match="older version: boxes are drawn as stored"):
        view, *_ = replay(run)
    assert view.record["boxes"] == [pytest.approx([6.4, 4.8, 57.6, 56])]  # 5 6 45 70 of 50x80
    (root / "val/ILSVRC2012_val_00000001.JPEG").write_bytes(b"another file")
    with pytest.raises(UserError, match="data sha256 was"):
        next(replay(run))


def test_another_model_of_that_name_is_refused(run, tmp_path):
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = json.loads((copied / "run.json").read_text())
    manifest["options"]["weights"] = "none"
    (copied / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="model sha256 was"):
        next(replay(copied))


def test_an_image_without_a_record_is_refused(run):
    with pytest.raises(UserError, match="no record of image 'nobody'"):
        next(replay(run, ["nobody"]))
