"""Weakly supervised localisation (Choe et al. 2020): what the images of a set add up to over thresholds.

A map at the images' size is scaled to [0, 1] by its lowest and highest value; a threshold of 0, .01, ... .99 keeps the
pixels that reach it. An image gives numbers for each threshold, and `attnlab.measures.totals` makes one of all images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import find_objects, label
from torch import Tensor

from attnlab.arrays import Areas, Maps
from attnlab.attention.map_metrics import is_constant
from attnlab.measures import THRESHOLDS
from attnlab.measures.one_map import EIGHT

Array = np.ndarray[Any, np.dtype[Any]]


def box_ious(maps: Maps, boxes: Sequence[Sequence[Sequence[float]]]) -> Tensor:
    """The best IoU of a box around a part of the kept pixels with one of the image's boxes, at each threshold.

    Parts are 8-connected, as OpenCV's contours in the authors' code are; boxes are half-open pixels. `max_box_acc`
    makes MaxBoxAccV2 of them: (N, THRESHOLDS), float64, NaN where an image has no box or its map is constant.
    """
    known = ~is_constant(maps).cpu() & torch.tensor([len(of_image) > 0 for of_image in boxes])
    values = torch.full((len(maps), THRESHOLDS), torch.nan, dtype=torch.float64)
    for number in known.nonzero()[:, 0].tolist():
        levels, truth = levels_of(maps[number].cpu().numpy()), np.asarray(boxes[number], np.float64).reshape(-1, 4)
        ious = [_best_iou(boxes_around(levels >= threshold), truth) for threshold in range(THRESHOLDS)]
        values[number] = torch.tensor(ious, dtype=torch.float64)
    return values


def pixel_counts(maps: Maps, masks: Areas) -> Tensor:
    """How many pixels on the mask, then how many beside it, each threshold keeps: (N, 2 THRESHOLDS), float64.

    `pxap` makes PxAP of them. NaN where the mask is empty or the map constant.
    """
    known = ~is_constant(maps).cpu() & masks.flatten(1).any(1).cpu()
    values = torch.full((len(maps), 2 * THRESHOLDS), torch.nan, dtype=torch.float64)
    for number in known.nonzero()[:, 0].tolist():
        levels, mask = levels_of(maps[number].cpu().numpy()), masks[number].cpu().numpy()
        counts = [np.bincount(levels[which], minlength=THRESHOLDS) for which in (mask, ~mask)]
        values[number] = torch.from_numpy(np.concatenate([count[::-1].cumsum()[::-1] for count in counts]))
    return values


def levels_of(map_: Array) -> Array:
    """Number of the highest threshold that each pixel of a map reaches, (H, W), 0 to THRESHOLDS - 1."""
    values = map_.astype(np.float64)
    unit = (values - values.min()) / (values.max() - values.min())
    levels: Array = np.searchsorted(np.arange(THRESHOLDS) / THRESHOLDS, unit, side="right") - 1
    return levels


def boxes_around(area: Array) -> Array:
    """A box around each 8-connected part of an area, (H, W) bool: (parts, 4), half-open pixels x0, y0, x1, y1."""
    found = find_objects(label(area, EIGHT)[0])
    return np.array([(x.start, y.start, x.stop, y.stop) for y, x in found])


def _best_iou(found: Array, boxes: Array) -> float:
    """The highest IoU of one of (P, 4) with one of (B, 4); there is one at least of each."""
    low = np.maximum(found[:, None, :2], boxes[None, :, :2])
    high = np.minimum(found[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clip(min=0).prod(2)
    areas = [(some[:, 2:] - some[:, :2]).prod(1) for some in (found, boxes)]
    return float((shared / (areas[0][:, None] + areas[1] - shared)).max())
