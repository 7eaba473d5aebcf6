"""Masks as ground truth: read, brought to the model's size, recorded, and used by the tables."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from common import analyze_images
from PIL import Image

from attnlab.boxes import frame_of, ground_truth, pack, unpack
from attnlab.data.base import Entry, FileSet
from attnlab.data.masks import BoxMask, MaskFile, UnionMask
from attnlab.data.resizing import ResizedDataset, Skipped
from attnlab.errors import Unusable
from attnlab.records import read_records
from attnlab.report.figures.overlay import overlay
from attnlab.report.page.images import drawn_of
from attnlab.report.tables.controls import blind_areas
from attnlab.report.tables.lime import lime_ious

L_SHAPE = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]], bool)  # 3 rows of 4 pixels
WITHOUT = torch.empty(0, 4, dtype=torch.float64)


def picture(path: Path, values: np.ndarray, mode: str = "L") -> Path:
    """Write an array as a picture."""
    image = Image.fromarray(values.astype(np.uint8))
    if mode == "P":
        image.putpalette([value for level in range(256) for value in (level, 255 - level, 0)])
    image.save(path)
    return path


def mask_of_samples(*entries: Entry, size: tuple[int, int] = (3, 4), **how: str) -> list:
    """Samples of entries at a size."""
    names = [str(number) for number in range(len(entries))]
    images = FileSet("mine", ["a", "b"], names, entries)
    return [ResizedDataset(images, size, **how)[index] for index in range(len(entries))]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of 3 rows of 4 pixels."""
    return picture(tmp_path / "photo.png", np.full((3, 4, 3), 90))


def test_every_pixel_that_is_not_0_belongs_to_the_object(tmp_path):
    path = picture(tmp_path / "m.png", L_SHAPE * 7)
    assert (MaskFile(path).decode(3, 4) == L_SHAPE).all()


def test_palette_indices_are_taken_as_they_are_stored(tmp_path):
    path = picture(tmp_path / "m.png", np.where(L_SHAPE, 2, 1), "P")
    assert Image.open(path).mode == "P"
    assert (MaskFile(path, (2,)).decode(3, 4) == L_SHAPE).all()
    assert MaskFile(path, (1, 2)).decode(3, 4).all()


def test_a_picture_in_colours_is_an_object_where_any_is_not_0_and_it_is_not_transparent(tmp_path):
    values = np.zeros((3, 4, 4))
    values[L_SHAPE, 1], values[..., 3] = 5, 255
    values[0, 0, 3] = 0
    wanted = L_SHAPE.copy()
    wanted[0, 0] = False
    path = picture(tmp_path / "m.png", values)
    assert (MaskFile(path).decode(3, 4) == wanted).all()
    with pytest.raises(Unusable, match="in colours, where palette indices or grey levels were expected"):
        MaskFile(path, (5,)).decode(3, 4)


def test_a_mask_of_another_size_or_that_is_no_picture_makes_its_image_unusable(tmp_path, photo):
    small, empty = picture(tmp_path / "small.png", L_SHAPE[:2]), tmp_path / "empty.png"
    empty.touch()
    masks = [MaskFile(small), MaskFile(empty), MaskFile(tmp_path / "none.png")]
    samples = mask_of_samples(*(Entry(photo, 0, WITHOUT, mask=mask) for mask in masks))
    assert all(isinstance(sample, Skipped) for sample in samples)
    assert samples[0].reason == "its mask small.png is 4x2 pixels, the image 4x3"
    assert samples[1].reason == "its mask empty.png is no image that Pillow can read"
    assert samples[2].reason == "its mask none.png cannot be read: No such file or directory"


def test_several_masks_count_together_and_a_box_may_be_one():
    parts = [BoxMask((0, 0, 2, 1)), BoxMask((0, 0, 1, 3))]
    assert (UnionMask(parts).decode(3, 4) == L_SHAPE).all()
    assert str(UnionMask(parts)) != str(UnionMask(parts[:1]))


def test_the_frame_of_a_mask_is_half_open():
    assert frame_of(L_SHAPE) == [[0, 0, 2, 3]]
    assert frame_of(~L_SHAPE) == [[1, 0, 4, 3]]
    assert frame_of(np.zeros((3, 4), bool)) == []


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (17, 5)])
def test_a_packed_mask_is_unpacked_as_it_was(shape):
    mask = np.random.default_rng(0).random(shape) < 0.5
    assert (unpack(pack(mask), *shape) == mask).all()
    assert len(pack(np.zeros((224, 224), bool))) < 50


def test_the_mask_counts_before_the_boxes_unless_boxes_are_asked_for(tmp_path, photo):
    mask = MaskFile(picture(tmp_path / "m.png", L_SHAPE))
    entry = Entry(photo, 1, torch.tensor([[0, 0, 4, 3]], dtype=torch.float64), mask=mask)
    (sample,) = mask_of_samples(entry)
    assert sample.masked
    assert (sample.mask.numpy() == L_SHAPE).all()
    assert sample.boxes.tolist() == [[0, 0, 4, 3]]
    (sample,) = mask_of_samples(entry, truth="box")
    assert not sample.masked
    assert sample.mask.all()


def test_where_only_a_mask_is_known_its_frame_is_the_box(tmp_path, photo):
    entry = Entry(photo, 1, WITHOUT, mask=MaskFile(picture(tmp_path / "m.png", L_SHAPE)))
    assert mask_of_samples(entry)[0].boxes.tolist() == [[0, 0, 2, 3]]
    (sample,) = mask_of_samples(entry, truth="box")
    assert sample.mask.numpy().tolist() == [[True, True, False, False]] * 3


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (2, 3), (1, 2)])
def test_a_mask_is_resized_as_pillow_does_to_the_nearest_pixel(tmp_path, photo, size):
    (sample,) = mask_of_samples(
        Entry(photo, 1, WITHOUT, mask=MaskFile(picture(tmp_path / "m.png", L_SHAPE))), size=size
    )
    wanted = Image.fromarray(L_SHAPE.astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST)
    assert (sample.mask.numpy() == np.asarray(wanted)).all()


def test_the_share_that_a_crop_leaves_is_the_masks(tmp_path):
    wide = picture(tmp_path / "wide.png", np.full((8, 24, 3), 90))
    mask = np.zeros((8, 24))
    mask[:, 4:12] = 1  # the crop to 7x7 of 8x24 leaves columns 8 (of 8.5) to 15
    entry = Entry(wide, 1, WITHOUT, mask=MaskFile(picture(tmp_path / "m.png", mask)))
    (sample,) = mask_of_samples(entry, size=(7, 7), resize="crop")
    assert sample.mask.numpy().tolist() == [[True] * 4 + [False] * 3] * 7
    assert sample.box_share == pytest.approx(4 * 7 / (8 * 8))


def test_an_empty_mask_is_no_ground_truth_and_is_noted(tmp_path, photo):
    empty = MaskFile(picture(tmp_path / "m.png", np.zeros((3, 4))))
    (sample,) = mask_of_samples(Entry(photo, 1, WITHOUT, mask=empty))
    assert np.isnan(sample.box_share)
    assert sample.notes == ("with an empty mask",)


def test_masks_tell_two_sets_apart_and_sets_without_one_keep_their_fingerprint(tmp_path, photo):
    entry = Entry(photo, 1, torch.tensor([[0.0, 0, 2, 2]], dtype=torch.float64))
    masks = [MaskFile(picture(tmp_path / f"{name}.png", values)) for name, values in (("m", L_SHAPE), ("n", ~L_SHAPE))]
    prints = {
        FileSet("mine", [], ["a"], [one]).fingerprint()
        for one in (entry, *(Entry(photo, 1, entry.boxes, mask=mask) for mask in masks))
    }
    assert len(prints) == 3


def test_tables_read_the_mask_of_a_record_and_else_its_boxes():
    boxes = [[0.0, 0.0, 4.0, 3.0]]
    assert (ground_truth({"boxes": boxes, "mask": pack(L_SHAPE)}, 3, 4) == L_SHAPE).all()
    assert ground_truth({"boxes": boxes, "mask": None}, 3, 4).all()
    assert ground_truth({"boxes": boxes}, 3, 4).all()


def test_records_tables_and_captions_say_masks(tmp_path, resnet8):
    """Two images of 64x64, one with a mask and one with a box; IoU with the mask by hand."""
    mask = np.zeros((64, 64), bool)
    mask[:, :20] = mask[:20] = True
    path = picture(tmp_path / "m.png", mask)
    draw = np.random.default_rng(1)
    photos = [picture(tmp_path / f"{name}.png", draw.integers(0, 255, (64, 64, 3))) for name in "ab"]
    box = torch.tensor([[4, 4, 40, 50]], dtype=torch.float64)
    entries = [Entry(photos[0], 0, box, mask=MaskFile(path)), Entry(photos[1], 1, box)]
    images = FileSet("mine", [], ["a", "b"], entries)
    run = analyze_images(resnet8, images, tmp_path / "run", positions=[0, 1])
    records = read_records(run.folder).set_index("image_id")
    assert (unpack(records["mask"]["a"], 64, 64) == mask).all()
    assert records["mask"]["b"] is None or not isinstance(records["mask"]["b"], bytes)
    map_at_size = torch.nn.functional.interpolate(
        torch.tensor(np.array(records["map"]["a"])).reshape(1, 1, *resnet8.map_shape), (64, 64), mode="bilinear"
    )
    area = np.zeros(64 * 64, bool)
    area[np.argsort(-map_at_size.numpy().ravel(), kind="stable")[: mask.sum()]] = True
    both = (area & mask.ravel()).sum()
    assert records["iou_att_gt"]["a"] == pytest.approx(both / (2 * mask.sum() - both))
    centred = blind_areas(records.reset_index(), (64, 64))["centred"]
    assert centred[0] != pytest.approx(centred[1])


def test_the_plain_ground_truth_of_lime_is_the_mask():
    weights = {
        "weights": [1.0, -1.0],
        "segments": zlib.compress(np.where(L_SHAPE, 0, 1).astype(np.uint16)),
    }
    image = {"boxes": [[0, 0, 2, 3]], "mask": pack(L_SHAPE), "lime": weights, "adv_lime": None, "lime_again": None}
    assert lime_ious(image, (3, 4), [1], "box")["table4"][1] == 1
    assert lime_ious({**image, "mask": None}, (3, 4), [1], "box")["table4"][1] == pytest.approx(4 / 6)
    # the frame of 2 x 3 pixels that is scaled is the mask's, whatever box was given beside it
    matched = lime_ious({**image, "boxes": [[3, 0, 4, 1]]}, (3, 4), [1], "matched")["table4"][1]
    assert matched == lime_ious({**image, "mask": None}, (3, 4), [1], "matched")["table4"][1] > 0


def test_a_page_draws_the_outline_of_a_mask_in_place_of_boxes():
    manifest = {"model": {"input_size": [3, 4]}, "features": [8]}
    record = {"boxes": [[0, 0, 4, 3]], "mask": pack(L_SHAPE), "adversarial": [], "map": None, "lime": None}
    drawn = drawn_of(record, manifest)
    assert drawn["boxes"] == []
    assert drawn["share"] == pytest.approx(4 / 12)
    points = [tuple(map(float, point.split())) for point in drawn["outline"].strip("MZ").split("L")]
    assert {(min(x), max(x)) for x in zip(*points, strict=True)} == {(0, 2), (0, 3)}  # columns, then rows
    assert drawn_of({**record, "mask": None}, manifest) == {"boxes": [[0, 0, 4, 3]], "share": 1.0}


def test_an_overlay_draws_the_inner_border_of_a_mask():
    mask = np.zeros((9, 9), bool)
    mask[2:8, 1:7] = True
    picture = overlay(np.full((9, 9, 3), 0.5, np.float32), mask=mask)
    border = mask.copy()
    border[3:7, 2:6] = False
    assert (picture[border] == 255).all()
    assert (picture[3, 2:6] == 0).all()  # the black line inside
    assert (picture[~mask] == 128).all()
    assert (picture[4:6, 3:5] == 128).all()


def test_a_mask_whose_values_are_not_sure_leaves_its_image_out(tmp_path):
    white_first = Image.fromarray(np.where(L_SHAPE, 0, 1).astype(np.uint8), "P")  # as programs make palettes smaller
    white_first.putpalette([255, 255, 255, 0, 0, 0])
    white_first.save(tmp_path / "palette.png")
    picture(tmp_path / "m.jpg", L_SHAPE * 255)
    colours = np.zeros((3, 4, 3))
    colours[0, 0, 0] = colours[2, 3, 1] = 255  # as bright as each other
    for mask, reason in (
        (MaskFile(tmp_path / "palette.png"), "the first colour of its mask palette.png is not black"),
        (MaskFile(tmp_path / "m.jpg"), "its mask m.jpg is a JPEG"),
        (MaskFile(picture(tmp_path / "two.png", colours), of_one=True), "its mask two.png has 2 values beside 0"),
    ):
        with pytest.raises(Unusable, match=reason):
            mask.decode(3, 4)
