"""Boxes, masks and IoU: pure geometry.

A box is (x0, y0, x1, y1) in pixels, half-open: x0 <= x < x1 and y0 <= y < y1; several are (B, 4).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # tables are made without torch
    from torch import Tensor

    from attnlab.arrays import Areas, PerImage

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]


def iou_of_shared(shared: Any, cells: int) -> Any:
    """IoU of two areas of `cells` cells each, by how many they share: |A and B| / |A or B| (eq. 6 of the paper)."""
    return shared / (2 * cells - shared)


def usable(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes clipped to the image, in their order; empty and inverted ones are dropped."""
    import torch

    values = boxes.numpy()
    return torch.from_numpy(np.array(clipped(values.tolist(), height, width), values.dtype).reshape(-1, 4))


def clipped(boxes: Iterable[Sequence[float]], height: int, width: int) -> list[tuple[float, float, float, float]]:
    """`usable` for plain numbers, which take less time than arrays where boxes are few."""
    inside = (
        (min(max(x0, 0), width), min(max(y0, 0), height), min(max(x1, 0), width), min(max(y1, 0), height))
        for x0, y0, x1, y1 in boxes
    )
    return [box for box in inside if box[2] > box[0] and box[3] > box[1]]


def doubts(boxes: Iterable[Sequence[float]], height: int, width: int) -> list[str]:
    """Reasons to doubt boxes as they were given, in words that follow "3 of 12 images"."""
    beyond = swapped = tiny = False
    for x0, y0, x1, y1 in boxes:
        if x1 < x0 or y1 < y0:
            swapped = True
            continue
        # half a pixel is rounding
        beyond |= x0 < -0.5 or y0 < -0.5 or x1 > width + 0.5 or y1 > height + 0.5
        tiny |= 0 < x1 - x0 < 1 and 0 < y1 - y0 < 1
    notes = {
        "with a box that reaches beyond the frame, clipped to it": beyond,
        "with a box of swapped corners, which is dropped (is it x, y, width, height?)": swapped,
        "with a box smaller than a pixel (is it in fractions of the image's size?)": tiny,
    }
    return [note for note, found in notes.items() if found]


def same_aspect(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two sizes, height and width, are those of one picture, scaled; sides may be a pixel off by rounding."""
    (height, width), (other_height, other_width) = first, second
    return abs(height * other_width - other_height * width) <= max(height, width)


def rasterise(boxes: Array, height: int, width: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Union of the boxes, (height, width); every edge is rounded to the nearest pixel border (half to even)."""
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in pixel_edges(boxes):
        mask[y0:y1, x0:x1] = True
    return mask


def pixel_edges(boxes: Array) -> list[list[int]]:
    """The pixel border nearest to each edge of each box, half to even."""
    return [[max(round(edge), 0) for edge in box] for box in boxes.tolist()]


def mask_of(boxes: Tensor, height: int, width: int) -> Tensor:
    """`rasterise` for tensors."""
    import torch

    return torch.from_numpy(rasterise(boxes.numpy(), height, width))


def pack(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> bytes:
    """A mask as records hold it: a bit a pixel, row by row, compressed by zlib."""
    return zlib.compress(np.packbits(mask).tobytes())


def unpack(packed: bytes, height: int, width: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The mask that `pack` has packed, (height, width)."""
    bits = np.frombuffer(zlib.decompress(packed), np.uint8)
    return np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)


def ground_truth(record: Mapping[Any, Any], height: int, width: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Ground truth of an image from its row of the records: its mask, else the union of its boxes; (height, width)."""
    packed = record.get("mask")
    if isinstance(packed, bytes):  # not None, nor pandas' NaN
        return unpack(packed, height, width)
    boxes = [np.asarray(box, float) for box in record["boxes"]]
    return rasterise(np.array(boxes).reshape(-1, 4), height, width)


def frame_of(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> list[list[float]]:
    """The box around a mask, half-open pixels x0, y0, x1, y1; none of an empty one."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return [[float(columns[0]), float(rows[0]), columns[-1] + 1.0, rows[-1] + 1.0]] if len(rows) else []


def matched_box(boxes: Array, area: float) -> Array:
    """The frame around the boxes, scaled about its centre to an area in pixels, (1, 4), even beyond the image."""
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    half = (high - low) / 2 * np.sqrt(area / np.prod(high - low))
    centre = (low + high) / 2
    return np.concatenate([centre - half, centre + half])[None]


def iou(first: Areas, second: Areas) -> PerImage:
    """Intersection over union of two areas of each image (eqs. 5 and 6 of the paper); NaN where both are empty."""
    intersection = (first & second).flatten(1).sum(1).double()
    return intersection / (first | second).flatten(1).sum(1)
