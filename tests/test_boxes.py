"""Doubts about boxes, sizes of one picture and boxes of an area, by hand."""

import numpy as np
import pytest

from attnlab.boxes import doubts, frame_of, matched_box, same_aspect

BEYOND, SWAPPED, TINY = "beyond the frame", "swapped corners", "smaller than a pixel"


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([-0.5, -0.5, 10.5, 20.5], None),  # half a pixel is rounding
        ([-0.75, 0, 10, 20], BEYOND),
        ([0, -0.75, 10, 20], BEYOND),
        ([0, 0, 10.75, 20], BEYOND),
        ([0, 0, 10, 20.75], BEYOND),
        ([6, 2, 4, 8], SWAPPED),
        ([4, 8, 6, 2], SWAPPED),
        ([4, 2, 4, 2], None),  # empty, as a point is
        ([0.25, 0.25, 0.75, 0.75], TINY),
        ([2, 3, 2, 3.5], None),
        ([2, 3, 2.5, 3], None),
        ([2, 3, 3, 3.5], None),  # a line one pixel wide
        ([2, 3, 2.5, 4], None),
        ([8, 18, 8.5, 18.5], TINY),
    ],
)
def test_what_is_odd_about_a_box_of_an_image_10_wide_and_20_high(box, words):
    notes = doubts([box], height=20, width=10)
    assert [words in note for note in notes] == ([] if words is None else [True])


def test_each_doubt_of_several_boxes_is_said_once():
    rows = [[6.0, 2, 4, 8], [-3, 0, 4, 4], [-5, 0, 4, 4], [0.25, 0.25, 0.75, 0.75]]
    notes = doubts(rows, height=20, width=10)
    assert len(notes) == 3
    assert all(words in note for words, note in zip((BEYOND, SWAPPED, TINY), notes, strict=True))


@pytest.mark.parametrize(("other", "same"), [((100, 50), True), ((102, 50), True), ((103, 50), False)])
def test_sizes_of_one_picture_may_be_a_pixel_off(other, same):
    # |200 * 50 - height * 100| is 0, 200, 300 and may be 200, the longer side
    assert same_aspect((200, 100), other) is same


@pytest.mark.parametrize(("area", "box"), [(12, [2.5, 4, 5.5, 8]), (48, [1, 2, 7, 10]), (192, [-2, -2, 10, 14])])
def test_a_box_of_an_area_is_the_frame_around_all_scaled_about_its_centre(area, box):
    boxes = np.array([[3.0, 2, 5, 10], [1, 5, 7, 6]])  # framed by 1, 2, 7, 10: 48 pixels
    assert matched_box(boxes, area).tolist() == [box]


def test_the_frame_of_a_mask_is_half_open_and_none_of_an_empty_one():
    mask = np.zeros((5, 7), bool)
    mask[1, 3] = mask[3, 2] = True
    assert frame_of(mask) == [[2.0, 1.0, 4.0, 4.0]]
    assert frame_of(np.zeros((5, 7), bool)) == []
