"""Boxes, masks and IoU: pure geometry.

A box is (x0, y0, x1, y1) in pixels, half-open: x0 <= x < x1 and y0 <= y < y1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # tables are made without torch
    from torch import Tensor

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]


def iou_of_shared(shared: Any, cells: int) -> Any:
    """IoU of two areas of equally many cells, by how many they share: |A and B| / |A or B| (eq. 6 of the paper).

    Args:
        shared: A number, an array or a tensor.
        cells: Of each area.
    """
    return shared / (2 * cells - shared)


def usable(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes clipped to the image, empty and inverted ones dropped.

    Args:
        boxes: Half-open pixels, (B, 4), float.
        height: Image height in pixels.
        width: Image width in pixels.

    Returns:
        The boxes left, (B', 4) with B' <= B, in their order.
    """
    clipped = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
    return clipped[(clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])]


def doubts(boxes: Tensor, height: int, width: int) -> list[str]:
    """What makes boxes doubtful, in words that follow "3 of 12 images".

    Args:
        boxes: Half-open pixels as they were given, (B, 4), float.
        height: Image height in pixels.
        width: Image width in pixels.
    """
    x0, y0, x1, y1 = boxes.unbind(1)
    # half a pixel is rounding
    beyond = (x0 < -0.5) | (y0 < -0.5) | (x1 > width + 0.5) | (y1 > height + 0.5)
    swapped = (x1 < x0) | (y1 < y0)
    tiny = (x1 > x0) & (y1 > y0) & (x1 - x0 < 1) & (y1 - y0 < 1)
    found = {
        "with a box that reaches beyond the frame, clipped to it": beyond & ~swapped,
        "with a box of swapped corners, which is dropped (is it x, y, width, height?)": swapped,
        "with a box smaller than a pixel (is it in fractions of the image's size?)": tiny,
    }
    return [note for note, which in found.items() if which.any()]


def rasterise(boxes: Array, height: int, width: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Union of the boxes as a mask; every edge is rounded to the nearest pixel border (half to even).

    Args:
        boxes: Half-open pixels, (B, 4).
        height: Mask height in pixels.
        width: Mask width in pixels.

    Returns:
        Mask, (height, width), bool.
    """
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in boxes.round().astype(int).clip(min=0):
        mask[y0:y1, x0:x1] = True
    return mask


def mask_of(boxes: Tensor, height: int, width: int) -> Tensor:
    """`rasterise` for tensors: (B, 4) to (height, width), bool."""
    import torch

    return torch.from_numpy(rasterise(boxes.numpy(), height, width))


def matched_box(boxes: Array, area: float) -> Array:
    """The frame around the boxes, scaled about its centre to an area; it may reach beyond the image.

    Args:
        boxes: Half-open pixels, (B, 4), B at least 1.
        area: Of the result, in pixels.

    Returns:
        One box, (1, 4).
    """
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    half = (high - low) / 2 * np.sqrt(area / np.prod(high - low))
    centre = (low + high) / 2
    return np.concatenate([centre - half, centre + half])[None]


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of two areas per image (eqs. 5 and 6 of the paper).

    Args:
        first: Areas, (N, H, W), bool.
        second: Areas, (N, H, W), bool.

    Returns:
        IoU, (N,), float64; NaN where both areas are empty.
    """
    intersection = (first & second).flatten(1).sum(1).double()
    return intersection / (first | second).flatten(1).sum(1)
