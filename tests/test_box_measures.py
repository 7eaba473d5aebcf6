"""MaxBoxAccV2, PxAP and what they count: by hand, and against labelling at every threshold."""

import numpy as np
import pytest
import torch
from random_maps import noise, some_masks
from skimage.measure import label

from attnlab.measures import THRESHOLDS
from attnlab.measures.localisation import box_ious, boxes_around, pixel_counts
from attnlab.measures.totals import max_box_acc, pxap


def test_box_ious_by_hand():
    """A map of three heights: a box for each part of each."""
    maps = torch.zeros(1, 6, 8)
    maps[0, 1:5, 1:5] = 0.5
    maps[0, 1:3, 1:3] = 1
    maps[0, 5, 7] = 0.255
    ious = box_ious(maps, [[[1.0, 1.0, 5.0, 5.0]]])[0]
    assert ious[0] == pytest.approx(16 / 48)  # the whole frame
    assert ious[1:51].tolist() == [1] * 50
    assert ious[51:].tolist() == [pytest.approx(4 / 16)] * 49
    two = box_ious(maps, [[[7.0, 5.0, 8.0, 6.0], [0.0, 0.0, 8.0, 6.0]]])[0]
    assert two[1:26].tolist() == [1] * 25  # the single pixel is the first box
    assert two[26].item() == pytest.approx(16 / 48)


def test_an_image_without_boxes_has_no_iou_with_them():
    ious = box_ious(noise(2, 6, 8), [[], [[0.0, 0.0, 8.0, 6.0]]])
    assert ious.isnan().all(1).tolist() == [True, False]
    assert not ious[1].isnan().any()


def plain_box_ious(map_, boxes):
    """The definition: label what each threshold keeps, a box around each part, IoU with each box."""
    unit = (map_ - map_.min()) / (map_.max() - map_.min())
    best = []
    for threshold in range(THRESHOLDS):
        parts = label(unit >= threshold / THRESHOLDS, connectivity=2)
        ious = [0.0]
        for number in range(1, parts.max() + 1):
            y, x = np.nonzero(parts == number)
            found = np.zeros(map_.shape, bool)
            found[y.min() : y.max() + 1, x.min() : x.max() + 1] = True
            for x0, y0, x1, y1 in boxes:
                truth = np.zeros(map_.shape, bool)
                truth[y0:y1, x0:x1] = True
                ious.append((found & truth).sum() / (found | truth).sum())
        best.append(max(ious))
    return best


@pytest.mark.parametrize(("smooth", "ties"), [(3, False), (0, False), (1, True)])
def test_box_ious_equal_labelling_at_every_threshold(smooth, ties):
    maps = noise(2, 20, 24, smooth=smooth, ties=ties)
    boxes = [[[2, 3, 12, 15]], [[5, 5, 20, 18], [0, 0, 6, 6]]]
    expected = [plain_box_ious(map_, few) for map_, few in zip(maps.numpy().astype(float), boxes, strict=True)]
    np.testing.assert_allclose(box_ious(maps, boxes), expected, rtol=1e-12)


def test_boxes_around_parts_by_hand():
    area = np.zeros((5, 6), bool)
    area[0, 0] = area[1, 1] = area[4, 2:5] = True
    assert boxes_around(area).tolist() == [[0, 0, 2, 2], [2, 4, 5, 5]]


def test_max_box_acc_by_hand():
    """Two images whose boxes are best at different thresholds; an image that counts twice."""
    values = np.zeros((2, THRESHOLDS))
    values[0, 10:20] = 0.6
    values[1, 15:40] = 0.4
    # .3: both between 15 and 20; .5: the first; .7: none
    np.testing.assert_allclose(max_box_acc(values, np.array([[1, 1], [2, 0], [0, 2]])), [1.5 / 3, 2 / 3, 1 / 3])


def test_pixel_counts_by_hand():
    maps = torch.tensor([[[0.0, 0.505], [1.0, 0.2]]])
    counts = pixel_counts(maps, torch.tensor([[[True, False], [True, False]]]))[0]
    inside, beside = counts.split(THRESHOLDS)
    assert inside.tolist() == [2, *[1] * 99]
    assert beside.tolist() == [*[2] * 21, *[1] * 30, *[0] * 49]


def test_pxap_by_hand():
    """Highest threshold: recall 1/2 at precision 1; at 0 recall 1 at precision 1/2."""
    values = pixel_counts(torch.tensor([[[0.0, 0.505], [1.0, 0.2]]]), torch.tensor([[[True, False], [True, False]]]))
    assert pxap(values.numpy(), np.ones((1, 1))).tolist() == [0.5 * 1 + 0.5 * 0.5]


def published_pxap(scoremaps, masks, thresholds):
    """The sum of Choe et al. 2020, sec. 4.2, threshold by threshold over all pixels of all images."""
    area, recall_before = 0.0, 0.0
    for threshold in thresholds[::-1]:
        kept = [scoremap >= threshold for scoremap in scoremaps]
        hits = sum((one & mask).sum() for one, mask in zip(kept, masks, strict=True))
        size = sum(one.sum() for one in kept)
        recall = hits / sum(mask.sum() for mask in masks)
        area += (hits / size if size else 0) * (recall - recall_before)
        recall_before = recall
    return area


def test_pxap_equals_the_published_sum():
    maps, masks = noise(5, 24, 20, smooth=2), some_masks(5, 24, 20)
    unit = [(map_ - map_.min()) / (map_.max() - map_.min()) for map_ in maps.numpy().astype(float)]
    values, twice = pixel_counts(maps, masks).numpy(), np.array([2, 0, 1, 1, 1.0])
    expected = published_pxap(unit, masks.numpy(), np.arange(THRESHOLDS) / THRESHOLDS)
    again = published_pxap([*unit[2:], unit[0], unit[0]], [*masks.numpy()[2:], *[masks[0].numpy()] * 2],
                           np.arange(THRESHOLDS) / THRESHOLDS)  # fmt: skip
    np.testing.assert_allclose(pxap(values, np.stack([np.ones(5), twice])), [expected, again], rtol=1e-12)
