"""Areas and their IoU, by hand and against numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.attention.map_metrics import (
    _highest_by_sorting,
    above_mean,
    is_constant,
    map_mask_iou,
    resize_maps,
    top_k_mask,
    topk_intersection,
    topk_overlap,
)
from attnlab.boxes import iou, mask_of, usable

maps_with_ties = st.lists(st.integers(-3, 3), min_size=12, max_size=12).map(
    lambda values: torch.tensor(values, dtype=torch.float32).view(1, 3, 4)
)


def numpy_highest(map_, count):
    """The highest cells by a stable sort: the plain definition."""
    area = np.zeros(map_.numel(), bool)
    area[np.argsort(-map_.numpy().ravel(), kind="stable")[:count]] = True
    return area.reshape(map_.shape)


@given(maps_with_ties, st.integers(0, 12))
def test_highest_equals_numpys_stable_sort(maps, count):
    area = top_k_mask(maps, torch.tensor([count]))
    assert torch.equal(_highest_by_sorting(maps, torch.tensor([count])), area)
    assert area.sum() == count
    assert np.array_equal(area[0].numpy(), numpy_highest(maps[0], count))


def test_of_equal_cells_the_lower_index_is_first():
    maps = torch.tensor([[[1.0, 2.0], [2.0, 2.0]]])
    assert top_k_mask(maps, torch.tensor([2])).tolist() == [[[False, True], [True, False]]]


@settings(max_examples=50)
@given(maps_with_ties, maps_with_ties)
def test_shared_cells_equal_the_overlap_of_the_areas_of_every_size(first, second):
    if is_constant(first) or is_constant(second):
        assert (topk_intersection(first, second) == -1).all()
        return
    expected = [
        int((numpy_highest(first[0], k) & numpy_highest(second[0], k)).sum()) for k in range(1, first.numel() + 1)
    ]
    assert topk_intersection(first, second)[0].tolist() == expected


def test_iou_with_mask_by_hand():
    maps = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]])
    masks = torch.tensor([[[True, False], [True, False]]])
    assert map_mask_iou(maps, masks).tolist() == [pytest.approx(1 / 3)]  # area: the upper row


def test_iou_with_mask_equals_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 7, 7, generator=generator)
    masks = torch.rand(4, 31, 37, generator=generator) > 0.7
    big = resize_maps(maps, (31, 37))
    for value, map_, mask in zip(map_mask_iou(maps, masks), big, masks.numpy(), strict=True):
        area = numpy_highest(map_, mask.sum())
        assert value == (area & mask).sum() / (area | mask).sum()


def test_a_constant_map_and_an_empty_mask_have_no_iou():
    masks = torch.ones(2, 4, 4, dtype=torch.bool)
    masks[1] = False
    maps = torch.stack([torch.full((2, 2), 0.3), torch.tensor([[1.0, 2.0], [3.0, 4.0]])])
    assert map_mask_iou(maps, masks).isnan().all()


def test_the_mean_threshold_includes_equality():
    maps = torch.tensor([[[0.0, 1.0], [2.0, 1.0]]])
    assert above_mean(maps).tolist() == [[[False, True], [True, True]]]


def test_iou_of_two_empty_areas_is_nan():
    nothing = torch.zeros(1, 2, 2, dtype=torch.bool)
    assert iou(nothing, nothing).isnan().all()


def test_mask_is_the_union_of_half_open_boxes():
    mask = mask_of(torch.tensor([[0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 2.0]]), 2, 4)
    assert mask.int().tolist() == [[1, 1, 1, 0], [0, 1, 1, 0]]


def test_boxes_are_clipped_and_empty_or_inverted_ones_dropped():
    boxes = torch.tensor([[-5.0, -5, 3, 3], [4, 4, 4, 8], [6, 2, 2, 6], [20, 20, 30, 30], [5, 5, 99, 99]])
    assert usable(boxes, height=10, width=12).tolist() == [[0, 0, 3, 3], [5, 5, 12, 10]]


@given(maps_with_ties, maps_with_ties, st.integers(1, 12))
def test_iou_of_cells_equals_the_iou_of_both_areas(first, second, cells):
    value = topk_overlap(first, second, cells)
    if is_constant(first) or is_constant(second):
        assert value.isnan().all()
    else:
        count = torch.tensor([cells])
        assert value == iou(top_k_mask(first, count), top_k_mask(second, count))
