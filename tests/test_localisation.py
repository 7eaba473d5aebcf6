"""MaxBoxAccV2 against what clovaai/wsolevaluation does with OpenCV, and the centre's own value on ImageNet."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from attnlab.attention.blind_maps import centre_maps
from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset
from attnlab.measures import DELTAS, THRESHOLDS
from attnlab.measures.localisation import box_ious, boxes_around
from attnlab.measures.totals import max_box_acc
from attnlab.report.statistics import bootstrap_total


def iou_of(one, other) -> float:
    """IoU of two boxes x0, y0, x1, y1 whose last pixels belong to them."""
    across = max(0, min(one[2], other[2]) - max(one[0], other[0]) + 1)
    down = max(0, min(one[3], other[3]) - max(one[1], other[1]) + 1)
    areas = [(x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in (one, other)]
    return across * down / (sum(areas) - across * down)


def authors_ious(cv2, map_, boxes, *, holes: bool) -> list[float]:
    """Best IoU at each threshold by the rules of evaluation.py, `multi_contour_eval` on.

    Maps have 256 levels, and a pixel counts above the threshold alone. A box ends one pixel behind its contour, or at
    the frame, and its last pixels belong to it. Contours are those of parts, and in the authors' code of holes in them.
    """
    height, width = map_.shape
    levels = (255 * (map_ - map_.min()) / (map_.max() - map_.min())).astype(np.uint8)
    best = []
    for threshold in np.arange(THRESHOLDS) / THRESHOLDS:
        kept = (levels > int(threshold * levels.max())).astype(np.uint8)
        found = []
        contours, hierarchy = cv2.findContours(kept, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        outer = hierarchy[0, :, 3] < 0
        for contour in (contour for contour, is_part in zip(contours, outer, strict=True) if is_part or holes):
            x, y, wide, high = cv2.boundingRect(contour)
            found.append((x, y, min(x + wide, width - 1), min(y + high, height - 1)))
        best.append(max(iou_of(one, box) for one in found for box in boxes))
    return best


@pytest.mark.parametrize("smooth", [3, 6])
def test_max_box_acc_equals_the_authors_code_but_for_a_pixel_a_level_and_holes(smooth):
    cv2 = pytest.importorskip("cv2", reason="OpenCV comes with the package grad-cam")
    draw, count, side = np.random.default_rng(smooth), 24, 64
    maps = np.stack([gaussian_filter(draw.normal(size=(side, side)), smooth) for _ in range(count)])
    corners = draw.integers(0, side // 2, (count, 2, 2))
    sizes = draw.integers(side // 6, side // 2, (count, 2, 2))
    boxes = np.concatenate([corners, corners + sizes], 2)  # two an image, half-open
    ours = box_ious(torch.from_numpy(maps), boxes.tolist()).numpy()
    theirs, with_holes = (
        np.array([authors_ious(cv2, *one, holes=holes) for one in zip(maps, boxes - [0, 0, 1, 1], strict=True)])
        for holes in (False, True)
    )
    # they keep what lies above a threshold: the frame that all pixels fill is ours alone
    differences = np.abs(ours[:, 1:].max(1) - theirs.max(1))
    assert differences.mean() < 0.03
    assert differences.max() < 0.2
    score, own, whole = (max_box_acc(ious, np.ones((1, count))).item() for ious in (ours, theirs, with_holes))
    assert score == pytest.approx(own, abs=0.04)
    assert own <= whole
    assert 0.05 < score < 0.9


#: maps of the tests of clovaai/wsolevaluation, and the box of the largest part that they expect at 0, .2, .4, .6 and .8
EXPECTED = {
    "one peak": (
        "00000 04446 04A86 04446",
        [(1, 1, 4, 3), (1, 1, 4, 3), (2, 1, 4, 3), (2, 2, 4, 3), (2, 2, 3, 3)],
    ),
    "several": (
        "40222 44040 00040 A6822",
        [(0, 0, 4, 3), (0, 0, 2, 2), (0, 3, 3, 3), (2, 3, 3, 3), (0, 3, 1, 3)],
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_boxes_of_a_map_hold_the_one_that_the_authors_tests_expect(name):
    rows, expected = EXPECTED[name]
    tenths = np.array([[int(value, 16) for value in row] for row in rows.split()])
    for threshold, box in zip((0, 2, 4, 6, 8), expected, strict=True):
        # they keep what lies above a threshold, and a box ends a pixel behind its part, or at the frame
        around = np.minimum(boxes_around(tenths > threshold), [4, 3, 4, 3])
        assert box in set(map(tuple, around.tolist()))


def test_iou_of_two_boxes_is_what_the_authors_tests_expect():
    # (1, 2, 5, 6) and (3, 1, 4, 5), whose last pixels belong to them: 2 x 4 of 25 + 10 - 8
    one = torch.zeros(1, 8, 8)
    one[:, 2:7, 1:6] = 1
    assert box_ious(one, [[[3, 1, 5, 6]]])[0, 50].item() == pytest.approx(8 / 27, abs=1e-12)


def frames(side: int) -> list[tuple[int, int]]:
    """First pixel and end of the square that each threshold keeps of the map `centre`, from its definition."""
    off = np.abs(2 * np.arange(side) + 1 - side) / side
    unit = ((1 - off) - (1 - off).min()) / np.ptp(off)
    kept = [np.nonzero(unit >= threshold / THRESHOLDS)[0] for threshold in range(THRESHOLDS)]
    return [(some[0], some[-1] + 1) for some in kept]


@pytest.mark.slow
def test_the_centre_scores_what_the_documentation_says_on_500_photographs(shared):
    prepared = ResizedDataset(load_dataset("imagenet", shared / "imagenet-val", "val"), (224, 224))
    boxes = [prepared[number].boxes for number in range(500)]

    def best(low, high, some):
        return max(iou_of((low, low, high - 1, high - 1), [*box[:2], box[2] - 1, box[3] - 1]) for box in some)

    values = np.array([[best(low, high, some) for low, high in frames(224)] for some in boxes])
    one = centre_maps(SimpleNamespace(images=torch.zeros(3, 3, 224, 224)))
    np.testing.assert_allclose(box_ious(one, boxes[:3]), values[:3], atol=1e-6)
    assert bootstrap_total(max_box_acc, values) == pytest.approx((0.555, 0.525, 0.589), abs=0.001)
    shares = [(values >= delta).mean(0).max() for delta in DELTAS]
    assert shares == pytest.approx([0.794, 0.566, 0.306], abs=0.001)
