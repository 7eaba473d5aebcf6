"""Images at the model's size with their boxes and masks, and batches of them."""

import math

import numpy as np
import pytest
import torch
from common import gradient
from PIL import Image
from torch import Tensor

from attnlab.data import RESIZINGS, load_dataset
from attnlab.data.base import Example
from attnlab.data.mnist_cifar import ArraySet
from attnlab.data.resizing import Batch, ResizedDataset, Skipped, load_batches, read_batch
from attnlab.errors import Unusable, UserError


class Few:
    """An image set in memory."""

    name, classes, size, channels, has_boxes = "few", (), None, 3, True

    def __init__(self, *examples: Example | Unusable) -> None:
        self.examples = examples

    @property
    def image_ids(self) -> list[str]:
        return [f"image-{index}" for index in range(len(self.examples))]

    def fingerprint(self) -> str:
        return ""

    def read(self, index: int) -> Example:
        example = self.examples[index]
        if isinstance(example, Unusable):
            raise example
        return example


def boxed(*boxes: list[float]) -> Example:
    return Example(gradient(size=(20, 10)), 3, torch.tensor(boxes).double().reshape(-1, 4))


@pytest.mark.parametrize(
    "box",
    [
        [5, 2, 5, 8],  # empty
        [5, 8, 15, 8],
        [15, 2, 5, 8],  # inverted
        [5, 8, 15, 2],
        [20, 0, 30, 10],  # right of the image
        [-9, 0, 0, 10],
        [0, 10, 20, 12],
        [0, -5, 20, 0],
        [float("nan"), 0, 20, 10],
    ],
)
def test_an_unusable_box_is_dropped_and_counted_and_the_others_stay(box):
    sample = ResizedDataset(Few(boxed(box, [2, 1, 6, 9])), (10, 20))[0]
    assert (sample.boxes.tolist(), sample.dropped_boxes, sample.box_share) == ([[2, 1, 6, 9]], 1, 1)
    alone = ResizedDataset(Few(boxed(box)), (10, 20))[0]
    assert (len(alone.boxes), alone.dropped_boxes, int(alone.mask.sum())) == (0, 1, 0)
    assert math.isnan(alone.box_share)


def test_a_box_that_leaves_the_image_is_clipped():
    assert ResizedDataset(Few(boxed([-5, -5, 10, 30])), (10, 20))[0].boxes.tolist() == [[0, 0, 10, 10]]


def test_the_mask_is_the_half_open_union_of_the_boxes():
    sample = ResizedDataset(Few(boxed([2, 1, 5, 3], [4, 2, 6, 10])), (10, 20))[0]
    expected = torch.zeros(10, 20, dtype=torch.bool)
    for y in range(10):
        for x in range(20):
            expected[y, x] = (2 <= x < 5 and 1 <= y < 3) or (4 <= x < 6 and 2 <= y < 10)
    assert torch.equal(sample.mask, expected)


def test_edges_halfway_between_pixels_round_to_even():
    sample = ResizedDataset(Few(boxed([1, 0, 5, 10])), (10, 10))[0]  # x: 0.5 to 2.5 at half the width
    assert sample.mask[0].nonzero().flatten().tolist() == [0, 1]


def fields(batches: list[Batch]) -> list[list[object]]:
    return [[value.tolist() if isinstance(value, Tensor) else value for value in batch] for batch in batches]


@pytest.mark.parametrize("resize", RESIZINGS)
def test_worker_processes_give_the_same_batches_in_the_same_order(resize):
    images = Few(*(boxed([index, 1, index + 5, 9]) for index in range(5)), Unusable("broken"), boxed([1, 1, 4, 4]))
    prepared = ResizedDataset(images, (16, 16), resize)
    batches = [[0, 1, 2], [6, 5], [4], [3]]
    here, elsewhere = (list(load_batches(prepared, batches, workers)) for workers in (0, 2))
    assert fields(here) == fields(elsewhere)
    assert [batch.positions for batch in here] == [[0, 1, 2], [6], [4], [3]]
    assert here[1].skipped == [Skipped(5, "image-5", "broken")]


def test_an_image_that_crop_would_blow_up_out_of_all_proportion_is_skipped_and_squash_takes_it():
    line = Example(Image.new("RGB", (9000, 1)), 0, torch.empty(0, 4, dtype=torch.float64))
    images = Few(line)
    reason = "9000x1 pixels, of which --resize crop would show less than 1/200; take --resize squash"
    assert ResizedDataset(images, (8, 8), "crop")[0] == Skipped(0, images.image_ids[0], reason)
    assert ResizedDataset(images, (8, 8))[0].pixels.shape == (3, 8, 8)


def test_a_batch_of_unusable_images_holds_their_reasons_alone():
    (batch,) = load_batches(ResizedDataset(Few(Unusable("one"), Unusable("two")), (8, 8)), [[0, 1]], 0)
    assert (batch.positions, len(batch.pixels), len(batch.labels), len(batch.masks)) == ([], 0, 0, 0)
    assert [skipped.reason for skipped in batch.skipped] == ["one", "two"]


def test_a_batch_holds_its_samples_side_by_side():
    prepared = ResizedDataset(load_dataset("scenes"), (32, 48))
    (batch,) = load_batches(prepared, [[4, 9]], 0)
    assert batch.image_ids == ["val-00004", "val-00009"]
    for place_in_batch, index in enumerate((4, 9)):
        sample = prepared[index]
        assert torch.equal(batch.pixels[place_in_batch], sample.pixels)
        assert torch.equal(batch.masks[place_in_batch], sample.mask)
        assert batch.labels[place_in_batch] == sample.label
        assert batch.boxes[place_in_batch] == sample.boxes.tolist()
    assert batch.pixels.dtype == torch.uint8


def test_read_batch_is_the_batch_a_loader_gives_and_its_tensors_are_pixels_in_0_1(scenes_batch):
    images = load_dataset("scenes", split="test")
    batch = read_batch(images, (64, 64), range(16))
    (loaded,) = load_batches(ResizedDataset(images, (64, 64)), [list(range(16))], 0)
    assert batch.image_ids == loaded.image_ids
    assert torch.equal(batch.pixels, loaded.pixels)
    assert torch.equal(batch.masks, loaded.masks)
    for mine, theirs in zip(batch.tensors(), scenes_batch, strict=True):
        assert torch.equal(mine, theirs)


def test_read_batch_takes_the_images_in_the_order_asked_for():
    images = load_dataset("scenes", split="test")
    assert read_batch(images, (32, 48), [5, 2]).image_ids == [images.image_ids[5], images.image_ids[2]]
    assert read_batch(images, (32, 48), [5, 2]).pixels.shape == (2, 3, 32, 48)


def test_read_batch_takes_no_more_images_than_a_set_has():
    few = ArraySet("few", "val", np.zeros((3, 8, 8, 3), np.uint8), np.array([0, 1, 0]), ("a", "b"))
    assert read_batch(few, (8, 8)).positions == [0, 1, 2]
    with pytest.raises(UserError, match=r"^expected positions below 3, the number of images, got 3$"):
        read_batch(few, (8, 8), range(4))
