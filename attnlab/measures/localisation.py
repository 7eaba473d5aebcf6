"""Weakly supervised localisation (Choe et al. 2020): what the images of a set add up to over thresholds.

A map at the images' size is scaled to [0, 1] by its lowest and highest value; a threshold of 0, .01, ... .99 keeps the
pixels that reach it. An image gives numbers for each threshold, and `attnlab.measures.totals` makes one of all images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from skimage.morphology import max_tree
from torch import Tensor

from attnlab.arrays import Areas, Maps
from attnlab.attention.map_metrics import is_constant
from attnlab.measures import THRESHOLDS

Array = np.ndarray[Any, np.dtype[Any]]


def box_ious(maps: Maps, boxes: Sequence[Sequence[Sequence[float]]]) -> Tensor:
    """The best IoU of a box around a part of the kept pixels with one of the image's boxes, at each threshold.

    Parts are 8-connected, as OpenCV's contours in the authors' code are; boxes are half-open pixels. `max_box_acc`
    makes MaxBoxAccV2 of them: (N, THRESHOLDS), float64, NaN where an image has no box or its map is constant.
    """
    known = ~is_constant(maps).cpu() & torch.tensor([len(of_image) > 0 for of_image in boxes])
    values = torch.full((len(maps), THRESHOLDS), torch.nan, dtype=torch.float64)
    for number in known.nonzero()[:, 0].tolist():
        nodes, lowest, highest = parts_of(levels_of(maps[number].cpu().numpy()))
        best = _best_iou(nodes, np.asarray(boxes[number], np.float64).reshape(-1, 4))
        thresholds = np.arange(THRESHOLDS)[:, None]
        there = (lowest <= thresholds) & (thresholds <= highest)
        values[number] = torch.from_numpy(np.where(there, best, 0.0).max(1))
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


def parts_of(levels: Array) -> tuple[Array, Array, Array]:
    """Boxes around the parts that any threshold keeps, (P, 4), and the lowest and highest threshold of each, (P,).

    The parts of a threshold lie within those of lower ones, and make a tree (Salembier et al. 1998): one pass over the
    pixels finds all of them, where labelling them threshold by threshold takes ten times as long.
    """
    parents, _ = max_tree(levels, connectivity=2)
    flat, parent = levels.ravel(), parents.ravel()
    pixels = np.arange(len(flat))
    # the pixel that stands for the part in which a pixel is lowest
    own = np.where(flat[parent] == flat, parent, pixels)
    y, x = np.divmod(pixels, levels.shape[1])
    corners = np.stack([-x, -y, x + 1, y + 1], 1)  # the largest of each is the box
    boxes = np.full((len(flat), 4), -len(flat))
    np.maximum.at(boxes, own, corners)
    parts = np.flatnonzero(own == pixels)
    parts = parts[np.argsort(-flat[parts], kind="stable")]
    ends = np.flatnonzero(np.diff(flat[parts], append=-1))
    for of_level in np.split(parts, ends[:-1] + 1):  # from the highest on, each into the part around it
        inner = of_level[parent[of_level] != of_level]
        np.maximum.at(boxes, parent[inner], boxes[inner])
    around = np.where(parent[parts] == parts, -1, flat[parent[parts]])
    return boxes[parts] * [-1, -1, 1, 1], around + 1, flat[parts]


def _best_iou(parts: Array, boxes: Array) -> Array:
    """The highest IoU of each box of (P, 4) with one of (B, 4), (P,)."""
    low = np.maximum(parts[:, None, :2], boxes[None, :, :2])
    high = np.minimum(parts[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clip(min=0).prod(2)
    areas = [(some[:, 2:] - some[:, :2]).prod(1) for some in (parts, boxes)]
    best: Array = (shared / (areas[0][:, None] + areas[1] - shared)).max(1)
    return best
