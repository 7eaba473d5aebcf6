"""The built-in scenes: the same everywhere, boxes as tight as the ink; and names of data sets and splits."""

import hashlib
import importlib

import numpy as np
import pytest
import torch
from common import error_of

from attnlab.data import load_dataset

scenes = importlib.import_module("attnlab.data.digit_scenes")

SCENES = {
    "train": "3153023d4ca214e0020cfd28d73809210956e48ff5bd9bee6fa81d99118fecb9",
    "val": "a880593863967759424d5b073c807f94b7d7939da88416dccbeeab585ccf260a",
    "test": "3c7266b3cfa9bc332835dc03a013655d81a63326d1935d9770be64438614ca2c",
}


@pytest.mark.parametrize("split", SCENES)
def test_scenes_are_the_same_on_every_machine(split):
    images = load_dataset("scenes", split=split)
    total = hashlib.sha256()
    for index in (0, 1, 2, 7, len(images.image_ids) - 1):
        image, label, boxes = images.read(index)
        total.update(image.tobytes() + repr((label, boxes.tolist())).encode())
    assert total.hexdigest() == SCENES[split]


def test_box_of_a_scene_tightly_bounds_the_ink(monkeypatch):
    """The ink's opacity is found again from the scene, its bare background and the same scene with an opaque square."""
    images = load_dataset("scenes", split="test")
    glyphs, labels = scenes._digits("test")

    def render(index: int, glyphs: np.ndarray) -> np.ndarray:
        with monkeypatch.context() as patch:
            patch.setattr(scenes, "_digits", lambda split: (glyphs, labels))
            patch.setattr(scenes, "INK", 0)  # a background without ink has a box too then
            return np.asarray(images.read(index).image, float)

    for index in range(60):
        seen, bare, full = (render(index, each) for each in (glyphs, glyphs * 0, glyphs * 0 + 255))
        strongest = np.abs(full - bare).argmax(2)[..., None]
        seen, bare, full = (np.take_along_axis(each, strongest, 2)[..., 0] for each in (seen, bare, full))
        contrast = np.abs(full - bare)
        opacity = 255 * (seen - bare) / np.where(contrast, full - bare, np.inf)
        error = 255 / np.maximum(contrast, 1)  # of the opacity, as colours are rounded
        x0, y0, x1, y1 = images.read(index).boxes[0].int().tolist()
        outside = np.ones((64, 64), bool)
        outside[y0:y1, x0:x1] = False
        assert (opacity < scenes.INK + error)[outside].all()
        inked = (opacity > scenes.INK - error) & (contrast > 20)
        for edge in (inked[y0, x0:x1], inked[y1 - 1, x0:x1], inked[y0:y1, x0], inked[y0:y1, x1 - 1]):
            assert edge.any()


def test_digits_of_the_splits_are_disjoint_and_none_is_left_out():
    digits = {split: {glyph.tobytes() for glyph in scenes._digits(split)[0]} for split in SCENES}
    assert sum(map(len, digits.values())) == len(set.union(*digits.values()))
    assert sum(len(scenes._digits(split)[1]) for split in SCENES) == 1797


def test_scenes_run_from_a_quarter_to_most_of_the_frame():
    boxes = torch.cat([load_dataset("scenes").read(index).boxes for index in range(400)])
    sides = torch.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert sides.min() == 16
    assert sides.max() == 56
    assert 30 < sides.median() < 42
    assert boxes.min() >= 0
    assert boxes.max() <= 64


def test_each_split_of_the_scenes_has_all_ten_classes_twenty_times_or_more():
    for split in SCENES:
        counts = np.bincount(scenes._digits(split)[1], minlength=10)
        assert counts.min() >= 20


def test_a_split_that_does_not_exist_is_refused_with_the_nearest():
    assert error_of(load_dataset, "scenes", None, "tset").endswith("got 'tset'; did you mean 'test'?")


def test_a_data_set_that_does_not_exist_is_refused_with_the_nearest():
    assert error_of(load_dataset, "imagnet").endswith("got 'imagnet'; did you mean 'imagenet'?")
