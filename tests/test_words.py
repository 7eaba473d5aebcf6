"""Counts in words, and what LIME is estimated to take."""

import re
from pathlib import Path

import pytest
import torch

from attnlab.config import AnalyzeConfig
from attnlab.data.digit_scenes import scenes
from attnlab.data.resizing import read_batch
from attnlab.pipelines.hardware import cutting_seconds
from attnlab.pipelines.own_passes import lime_cost
from attnlab.words import counted


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "image", "1 image"), (0, "image", "0 images"), (2, "box", "2 boxes"), (3, "class", "3 classes"),
     (1, "process", "1 process"), (5, "usable core", "5 usable cores"), (2, "epoch", "2 epochs")],
)  # fmt: skip
def test_a_noun_is_plural_unless_there_is_one(number, noun, text):
    assert counted(number, noun) == text


def test_a_run_of_one_image_speaks_of_one_image(attnlab):
    done = attnlab("analyze", "--limit", 1, "--workers", 0, "--out", "out")
    assert "1 of 1 image recorded" in done.out
    assert done.err.splitlines()[-1].startswith("1 of 1 image")
    assert not re.search(r"\b1 (images|boxes|cells|classes)\b", done.out + Path("out/tables/table1.tex").read_text())


@pytest.mark.parametrize(
    ("workers", "segments", "total", "cuts"),
    [
        (0, "own", "0:01:30", 120),  # in turn: 120 x 100 / 400 = 30 s of passes and 120 x 0.5 = 60 s of cuts
        (2, "own", "0:00:30", 120),  # beside each other: cuts of 30 s on two processes
        (1, "own", "0:01:00", 120),  # the cuts take longer than the passes
        (1, "shared", "0:00:30", 40),  # each image is cut once
    ],
)
def test_limes_estimate_holds_passes_and_superpixels(workers, segments, total, cuts):
    config = AnalyzeConfig.of(method="lime", lime_samples=100, lime_segments=segments)
    message = lime_cost(config, 40, 400.0, 0.5, workers)
    assert message.startswith(
        f"LIME: at most {total}: 12,000 passes (40 images x 3 explanations x 100 samples) at 400 "
    )
    assert f", {cuts} cuts into superpixels of 0.50 s" in message
    assert "\n" not in message


def test_the_time_of_a_cut_is_measured_on_images_of_the_data_and_of_none_it_is_nothing(monkeypatch):
    ticks = iter([10.0, 13.0, 20.0, 20.0])
    monkeypatch.setattr("attnlab.pipelines.hardware.perf_counter", lambda: next(ticks))
    batch = read_batch(scenes(None, "val"), (64, 64), range(2))
    assert cutting_seconds(batch, "grid") == 1.5
    assert cutting_seconds(batch._replace(pixels=torch.empty(0, 3, 64, 64, dtype=torch.uint8)), "grid") == 0


def test_the_only_image_is_told_in_the_singular(attnlab):
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(b"no image")
    Path("photos/boxes.csv").write_text("image,label,x0,y0,x1,y1\na.png,1,0,0,5,5\n")
    error = attnlab("analyze", "--data", "folder", "--root", "photos", "--model", "resnet8", "--out", "out").error
    assert error == "the only image cannot be used: no image that Pillow can read; out/skipped.csv names it"
