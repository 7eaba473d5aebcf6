"""Masks as polygons and runs, against pycocotools."""

import numpy as np
import pytest

from attnlab.boxes import same_aspect
from attnlab.data.masks import NoMask, PolygonMask, RleMask, packed
from attnlab.errors import Unusable

coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")

HEIGHT, WIDTH = 31, 47
STAR = [20.5, 1.25, 26.7, 17.3, 46.9, 18.1, 28.3, 22.2, 35, 30.9, 20.5, 24.3, 4.1, 29.7]
CORNER = [-6.0, -4.0, 9.3, -4.0, 9.3, 8.7, -6.0, 8.7]  # beyond the frame


def random_mask(seed: int, share: float) -> np.ndarray:
    return np.random.default_rng(seed).random((HEIGHT, WIDTH)) < share


def test_polygons_equal_pycocotools():
    runs = coco.merge(coco.frPyObjects([STAR, CORNER], HEIGHT, WIDTH))
    mask = PolygonMask((packed(STAR), packed(CORNER)))
    np.testing.assert_array_equal(mask.decode(HEIGHT, WIDTH), coco.decode(runs))


def test_a_polygon_in_fractions_or_of_another_size_is_scaled():
    mask = PolygonMask((packed(STAR),)).decode(HEIGHT, WIDTH)
    fractions = packed(np.array(STAR) / np.tile([WIDTH, HEIGHT], 7))
    np.testing.assert_array_equal(PolygonMask((fractions,), (1, 1)).decode(HEIGHT, WIDTH), mask)
    doubled = packed(np.array(STAR) * 2)
    np.testing.assert_array_equal(PolygonMask((doubled,), (2 * HEIGHT, 2 * WIDTH)).decode(HEIGHT, WIDTH), mask)


def test_a_polygon_far_outside_is_refused_before_it_fills_the_memory():
    with pytest.raises(NoMask, match="far outside"):
        PolygonMask((packed([0, 0, 1e9, 0, 1e9, 1e9]),)).decode(HEIGHT, WIDTH)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.98, 1])
def test_runs_equal_pycocotools(share):
    for seed in range(20):
        mask = random_mask(seed, share)
        text = coco.encode(np.asfortranarray(mask, np.uint8))["counts"]
        np.testing.assert_array_equal(RleMask(text, (HEIGHT, WIDTH), True).decode(HEIGHT, WIDTH), mask)


def test_runs_of_a_large_mask_equal_pycocotools():
    mask = np.zeros((700, 900), np.uint8, order="F")
    mask[100:600, 300:500] = mask[5, :] = 1
    text = coco.encode(mask)["counts"]
    np.testing.assert_array_equal(RleMask(text, (700, 900), True).decode(700, 900), mask)


def test_plain_runs_go_down_the_columns():
    mask = RleMask(packed([1, 3, 2]), (2, 3), False).decode(2, 3)
    assert mask.tolist() == [[False, True, False], [True, True, False]]


def test_runs_that_do_not_fill_the_mask_are_refused_where_pycocotools_gives_what_the_memory_held():
    text = coco.encode(np.asfortranarray(random_mask(1, 0.5), np.uint8))["counts"]
    for wrong in (b"", b"0", text[:-3], text + b"5", text[:-1] + b"P", b"zzzzzzzzzzzz", b"\xff\xfe~~", b"P"):
        with pytest.raises(NoMask, match="runs do not fill it"):
            RleMask(wrong, (HEIGHT, WIDTH), True).decode(HEIGHT, WIDTH)
    for counts in ([], [5], [10, 20, 30], [-5, 11]):
        with pytest.raises(NoMask, match="runs do not fill it"):
            RleMask(packed(counts), (2, 3), False).decode(2, 3)


def test_runs_are_scaled_to_an_image_of_the_same_aspect_alone():
    mask = RleMask(packed([1, 3, 2]), (2, 3), False)
    np.testing.assert_array_equal(mask.decode(4, 6), mask.decode(2, 3).repeat(2, 0).repeat(2, 1))
    with pytest.raises(Unusable, match="3x2 pixels, the image 2x3"):
        mask.decode(3, 2)
    assert same_aspect((480, 640), (240, 320))
    assert same_aspect((427, 640), (213, 320))  # 213.5 rounded
    assert not same_aspect((480, 640), (640, 480))
    assert not same_aspect((40, 41), (41, 40))


def test_the_texts_of_masks_tell_them_apart():
    masks = [
        PolygonMask((packed(STAR),)),
        PolygonMask((packed(STAR), packed(CORNER))),
        PolygonMask((packed(STAR[:8]), packed(STAR[8:]))),
        PolygonMask((packed(STAR),), (1, 1)),
        RleMask(packed([1, 3, 2]), (2, 3), False),
        RleMask(packed([1, 4, 1]), (2, 3), False),
        RleMask(packed([1, 3, 2]), (3, 2), False),
    ]
    assert len(set(map(str, masks))) == len(masks)
