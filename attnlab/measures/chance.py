"""What maps score that know nothing of the image: chance levels of measures, from masks or numbers of cells."""

from math import comb
from typing import Any

import numpy as np

from attnlab.boxes import iou_of_shared

Mask = np.ndarray[Any, np.dtype[np.bool_]]

#: pixels that Zhang et al. 2018 allow around an object, and the shorter side of the images that this is for; on others
#: the tolerance is the same share of that side, as 15 pixels would be half of an image of 32
TOLERANCE, SIDE = 15.0, 224


def tolerance(height: int, width: int) -> float:
    """How far from the mask the pointing game's highest pixel may lie, in pixels of an image of that size."""
    return TOLERANCE * min(height, width) / SIDE


def share(mask: Mask) -> float:
    """Share of the image that the mask covers: relevance mass of noise, and precision of any threshold of it."""
    return float(mask.mean())


def iou(mask: Mask) -> float:
    """IoU of two random areas as large as the mask, about: s / (2 - s), s its share of the image."""
    return float(iou_of_shared(share(mask), 1))


def pointing(mask: Mask) -> float:
    """Share of the pixels that hit the mask within the tolerance; NaN of an empty mask."""
    if not mask.any():
        return float("nan")
    from scipy.ndimage import distance_transform_edt  # which no run waits for

    return float((distance_transform_edt(~mask) <= tolerance(*mask.shape)).mean())


def fifth(cells: int) -> int:
    """A fifth of a grid's cells: 10 of 49, 13 of 64."""
    return max(1, round(cells / 5))


def top_iou(cells: int) -> float:
    """Mean IoU of two random areas of a fifth of the cells each: what they share is hypergeometric."""
    area = fifth(cells)
    ways = [comb(area, shared) * comb(cells - area, area - shared) for shared in range(area + 1)]
    chances = (count / sum(ways) for count in ways)  # of whole numbers: these may be beyond any float
    return float(sum(iou_of_shared(shared, area) * chance for shared, chance in enumerate(chances)))
