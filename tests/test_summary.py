"""What is said of images before a run."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from attnlab.data import load_dataset
from attnlab.data.base import Entry, Example, FileSet
from attnlab.data.masks import BoxMask
from attnlab.data.summary import SAMPLED, summarise, truth_of
from attnlab.errors import Unusable

WITHOUT = torch.empty(0, 4, dtype=torch.float64)
HALF = torch.tensor([[0, 0, 20, 30], [0, 0, 10, 10]], dtype=torch.float64)  # of 40x30 pixels, the second inside


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def set_of(*entries: Entry | Unusable, has_boxes: bool = True) -> FileSet:
    names = [str(number) for number in range(len(entries))]
    return FileSet("mine", [], names, entries, has_boxes=has_boxes)


def text_of(*entries: Entry | Unusable, has_boxes: bool = True, truth: str = "mask") -> str:
    images = set_of(*entries, has_boxes=has_boxes)
    return str(summarise(images, range(len(entries)), truth))


def test_boxes_and_the_share_of_the_frame_that_they_cover_together(photo):
    assert text_of(Entry(photo, 3, HALF), Entry(photo, 5, HALF[:1])) == (
        "2 images of 2 classes; 1.5 boxes an image, which cover 50 % of the frame (of 2 that were read)"
    )


def test_masks_are_counted_unless_boxes_are_asked_for(photo):
    entry = Entry(photo, 3, HALF, mask=BoxMask((0, 0, 4, 30)))
    assert text_of(entry) == (
        "1 image of 1 class; 2.0 boxes an image and masks of 1, which cover 10 % of the frame (of 1 that were read)"
    )
    assert "which cover 50 % of the frame" in text_of(entry, truth="box")


def test_what_cannot_be_used_is_counted_by_its_reason(photo):
    gone, cut = Unusable("no such file"), Entry(photo.with_name("none.png"), 1, HALF)
    assert text_of(gone, Entry(photo, 3, HALF), gone, cut) == (
        "4 images of 2 classes; 2.0 boxes an image, which cover 50 % of the frame (of 1 that were read); "
        "3 cannot be used (2 no such file, 1 cannot be decoded: No such file or directory)"
    )


def test_data_without_ground_truth_say_so(photo):
    assert text_of(Entry(photo, 3, WITHOUT), has_boxes=False) == "1 image of 1 class; no boxes or masks"
    assert text_of(Entry(photo, 3, WITHOUT)) == ("1 image of 1 class; no usable box or mask in 1 image that were read")


def test_only_a_few_images_are_read_and_they_are_spread_evenly():
    read = []

    class Scenes:
        def __init__(self):
            self.scenes = load_dataset("scenes")

        def __getattr__(self, name):
            return getattr(self.scenes, name)

        def read(self, index):
            read.append(index)
            return self.scenes.read(index)

    summarise(Scenes(), range(100, 500))
    assert read == list(range(100, 500, 400 // SAMPLED))


def test_an_empty_mask_and_a_box_outside_are_no_ground_truth():
    image, outside = Image.new("RGB", (4, 3)), torch.tensor([[8.0, 8, 9, 9]])
    assert math.isnan(truth_of(Example(image, 0, outside)).share)
    empty = BoxMask((0, 0, 0, 0)).decode(3, 4)
    assert math.isnan(truth_of(Example(image, 0, WITHOUT, mask=lambda: empty)).share)


def test_every_command_says_it_before_it_computes(attnlab):
    for words in (["analyze"], ["evaluate", "--attacks", "clean"], ["train", "--defense", "none", "--smoke"]):
        first = attnlab(*words, "--limit", 4, "--workers", 0, "--out", words[0]).err.splitlines()[0]
        split = {"analyze": "val", "evaluate": "test", "train": "train"}[words[0]]
        assert first.startswith(f"scenes {split}: "), first
        assert " boxes an image, which cover " in first
