"""Seeing a run's images again: what is shown is what was measured."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import chelsea

from attnlab.data import load_data
from attnlab.errors import UserError
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.job import prepare
from attnlab.pipelines.revisit import revisit
from attnlab.pipelines.settings import Settings


def test_views_are_the_images_that_were_measured(run, resnet8):
    views = list(revisit(run, batch_size=37))
    assert [view.record["image_id"] for view in views] == list(load_data("scenes").image_ids[:300])
    for place, key in [(None, "clean"), (0, "4/255"), (1, "16/255")]:
        pixels = np.stack([view.clean if place is None else view.adversarial[place] for view in views])
        seen = resnet8(torch.from_numpy(pixels).permute(0, 3, 1, 2)).softmax(1)
        rows = [view.record if place is None else view.record["adversarial"][place] for view in views]
        labels = torch.tensor([view.record["label"] for view in views])
        assert seen.argmax(1).tolist() == [row["prediction"] for row in rows], key
        confidence = seen.gather(1, labels[:, None])[:, 0].tolist()
        np.testing.assert_allclose(confidence, [row["confidence"] for row in rows], atol=1e-5)


def test_adversarial_views_lie_at_their_eps(run):
    for view in revisit(run, list(load_data("scenes").image_ids[:5])):
        distances = [np.abs(one - view.clean).max() for one in view.adversarial]
        np.testing.assert_allclose(distances, [4 / 255, 16 / 255], atol=1e-6)


def test_views_come_in_the_order_of_the_run_each_once(run):
    names = load_data("scenes").image_ids
    views = list(revisit(run, [names[200], names[3], names[200], names[77]], batch_size=2))
    assert [view.record["image_id"] for view in views] == [names[3], names[77], names[200]]


def test_random_starts_are_those_of_the_run(tmp_path, resnet8):
    from attnlab.attacks.parse import parse_attack

    settings = Settings(attack=parse_attack("pgd3"), budgets=(4 / 255,), seed=5)
    names = {"data": "scenes", "split": "val", "model": "resnet8", "weights": "default"}
    description = {**names, "precision": "fp32", "layout": "channels-last"}
    analyze(resnet8, load_data("scenes"), tmp_path / "run", settings, description=description, positions=range(40))
    views = list(revisit(tmp_path / "run"))
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
    prepare(data="folder", root=Path("photos"), model="resnet8", out=tmp_path / "run").run(lambda count: None)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (view,) = revisit(tmp_path / "run")
    assert view.record["image_id"] == "cat.png"
    (tmp_path / "photos/boxes.csv").write_text("image,label,x0,y0,x1,y1\ncat.png,3,100,20,300,280\n")
    with pytest.raises(UserError, match="data sha256 was"):
        next(revisit(tmp_path / "run"))


def test_another_model_of_that_name_is_refused(run, tmp_path):
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = json.loads((copied / "run.json").read_text())
    manifest["options"]["weights"] = "none"
    (copied / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="model sha256 was"):
        next(revisit(copied))


def test_an_image_without_a_record_is_refused(run):
    with pytest.raises(UserError, match="no record of image 'nobody'"):
        next(revisit(run, ["nobody"]))
