"""Corruptions where attacks stand: analyses, evaluations, saved images, and what is refused beside them."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from common import error_of
from PIL import Image

from attnlab.attacks import Attack
from attnlab.attacks.corruptions import Corruption
from attnlab.attacks.parse import parse_attack, parse_attacks
from attnlab.config import AnalyzeConfig, AttackConfig, EvaluateConfig
from attnlab.exports.write import export
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.evaluate import evaluate
from attnlab.pipelines.replay import replay
from attnlab.records import read_evaluation, read_records
from attnlab.report.tables.accuracy import corruptions
from attnlab.report.tables.export import make_tables


def test_an_analysis_of_a_corruption_has_maps_without_a_budget_and_is_seen_again(tmp_path):
    run = analyze(AnalyzeConfig.of(attack="contrast@5", limit=4, out=tmp_path / "run", workers=0))
    options = json.loads((run.folder / "run.json").read_text())["options"]
    assert options["eps"] == [None]
    assert options["attack"] == {"corruption": "contrast", "severity": 5}
    records = read_records(run.folder)
    assert records["eps"].isna().all()
    assert records["adv_map"].notna().all()
    (image, *_) = replay(run.folder)
    pixels = torch.from_numpy(image.clean).permute(2, 0, 1)[None]
    lowered = torch.from_numpy(image.adversarial[0]).permute(2, 0, 1)[None]
    means = pixels.mean((2, 3), keepdim=True)
    by_hand = ((pixels - means) * 0.05 + means).clamp(0, 1)
    assert (lowered - by_hand).abs().max() < 1.01 / 255
    (line,) = export("coco", run.folder)
    place = run.folder / "export-coco/adversarial/contrast@5"
    assert line.endswith(f"corrupted ones below {place.parent}")
    picture = np.asarray(Image.open(place / f"images/{image.record['image_id']}.png"))
    np.testing.assert_array_equal(picture, (image.adversarial[0] * 255).round())
    (entry, *_) = json.loads((place / "annotations.json").read_text())["images"]
    assert (entry["corruption"], entry["prediction"]) == ("contrast@5", str(records["adv_prediction"][0]))
    assert "eps" not in entry
    (entry, *_) = json.loads((run.folder / "export-coco/annotations.json").read_text())["images"]
    assert entry["prediction_contrast_5"] == str(records["adv_prediction"][0])


def test_an_evaluation_puts_each_severity_in_a_column_and_means_in_a_table(tmp_path):
    config = EvaluateConfig.of(attacks="clean,fog@1,fog@5,contrast@5", limit=6, out=tmp_path / "run", workers=0)
    run = evaluate(config)
    records = read_evaluation(run.folder)
    assert list(records["attack"].unique()) == ["clean", "fog@1", "fog@5", "contrast@5"]
    right = (records["prediction"] == records["label"]).groupby(records["attack"]).mean()
    table = make_tables(run).frames["corruptions"].set_index("corruption")["mean"]
    assert table["fog"] == pytest.approx(100 * (right["fog@1"] + right["fog@5"]) / 2)
    assert table["contrast"] == pytest.approx(100 * right["contrast@5"])
    assert table["mean of 2"] == pytest.approx((table["fog"] + table["contrast"]) / 2)


def test_means_of_corruptions_by_hand():
    wrongs = {"fog@1": (0, 0), "fog@2": (0, 1), "snow@1": (1, 1)}
    rows = [
        ("m", image, attack, 0, wrong)
        for attack, both in wrongs.items()
        for image, wrong in zip("ab", both, strict=True)
    ]
    records = pd.DataFrame(rows, columns=["model", "image_id", "attack", "label", "prediction"])
    severities = {"fog@1": ("fog", 1), "fog@2": ("fog", 2), "snow@1": ("snow", 1)}
    frame = corruptions(records, {"m": {"defense": "none"}}, severities)
    assert frame["mean"].tolist() == [75, 0, 37.5]
    assert frame["severities"].tolist() == ["1, 2", "1", ""]


def test_saved_corruptions_are_the_same_in_8_bits(tmp_path):
    run = evaluate(AttackConfig.of(attack="pixelate@3", limit=2, out=tmp_path / "run", workers=0))
    for array in (run.folder / "arrays").iterdir():
        levels = np.asarray(Image.open(run.folder / "images" / f"{array.stem}.png"))
        np.testing.assert_allclose(np.load(array).transpose(1, 2, 0) * 255, levels, atol=1e-4)


def test_a_corruption_knows_no_budget_and_several_are_no_analysis():
    named = parse_attacks("clean,fog@2,pgd3", "scenes")
    assert named["fog@2"] == Corruption("fog", 2)
    assert isinstance(named["pgd3"], Attack)
    assert "got 'fog', which stands for several" in error_of(lambda: AnalyzeConfig.of(attack="fog"))
    assert "did you mean 'frost@3'?" in error_of(lambda: parse_attack("frst@3"))
    assert "--where all with fog@2, got inside" in error_of(lambda: parse_attacks("fog@2", "scenes", where="inside"))
