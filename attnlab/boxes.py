"""Boxes, masks and IoU: pure geometry.

A box is (x0, y0, x1, y1) in pixels, half-open: x0 <= x < x1 and y0 <= y < y1.
"""

import torch
from torch import Tensor


def usable(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes clipped to the image, empty and inverted ones dropped.

    Args:
        boxes: Half-open pixels, (B, 4), float.
        height: Image height in pixels.
        width: Image width in pixels.

    Returns:
        The boxes left, (B', 4) with B' <= B, in their order.
    """
    limit = boxes.new_tensor([width, height, width, height])
    clipped = boxes.clamp(min=torch.zeros_like(limit), max=limit)
    return clipped[(clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])]


def mask_of(boxes: Tensor, height: int, width: int) -> Tensor:
    """Union of the boxes as a mask; every edge is rounded to the nearest pixel border (half to even).

    Args:
        boxes: Half-open pixels, (B, 4).
        height: Mask height in pixels.
        width: Mask width in pixels.

    Returns:
        Mask, (height, width), bool.
    """
    mask = torch.zeros(height, width, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes.round().long().clamp(min=0).tolist():
        mask[y0:y1, x0:x1] = True
    return mask


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
