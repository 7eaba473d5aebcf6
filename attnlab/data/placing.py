"""Where an image, its boxes and its mask come to lie at the model's size."""

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attnlab.boxes import Array, clipped, pixel_edges, rasterise
from attnlab.data import RESIZINGS, Size
from attnlab.data.bands import Bands
from attnlab.data.masks import Mask
from attnlab.errors import Unusable
from attnlab.registry import loaded

#: times the model's pixels, the most that an image is resized to; a line of 30,000 pixels would take 10 GB
MOST_FRAME = 200


def squash(_image: Size, size: Size) -> Size:
    """Resize to the model's size without keeping the aspect."""
    return size


def crop(image: Size, size: Size) -> Size:
    """Resize the shorter side to 8/7 of the model's (256 for 224, 342 for 299), for a cut out of the centre.

    Of a model whose images are not square, the side is meant that is the shorter of the two beside the model's.
    """
    (height, width), (rows, columns) = image, size
    if height * columns <= width * rows:
        side = round(rows * 8 / 7)
        return side, int(side * width / height)
    side = round(columns * 8 / 7)
    return int(side * height / width), side


def place(
    image: Image.Image | Bands, boxes: Sequence[Sequence[float]], size: Size, resize: str
) -> tuple[Tensor, Array, float]:
    """Bring an image and its boxes, half-open pixels, to the model's size, each channel for itself.

    Returns pixels (C, H, W) uint8, the boxes that are still in the frame (B', 4) float32, and the share of the boxes'
    area that is, NaN without boxes; raises Unusable of an image whose frame would be out of all proportion.
    """
    bands = [image] if isinstance(image, Image.Image) else [Image.fromarray(band) for band in np.moveaxis(image, -1, 0)]
    stored = (bands[0].height, bands[0].width)
    frame = _frame_of(resize)(stored, size)
    if frame[0] * frame[1] > MOST_FRAME * size[0] * size[1]:
        raise Unusable(
            f"{stored[1]}x{stored[0]} pixels, of which --resize {resize} would show less than 1/{MOST_FRAME}; "
            "take --resize squash"
        )
    # Pillow itself: torchvision's functions, which call it, take a twentieth of the time on top
    bands = [band.resize(frame[::-1], Image.Resampling.BILINEAR) for band in bands]
    if frame != size:
        top, left = corner(frame, size)
        bands = [band.crop((left, top, left + size[1], top + size[0])) for band in bands]
    pixels = [torch.from_numpy(np.array(band)) for band in bands]
    pixels = [values.permute(2, 0, 1) if values.ndim == 3 else values[None] for values in pixels]
    moved, share = place_boxes(boxes, stored, frame, size)
    return pixels[0] if len(pixels) == 1 else torch.cat(pixels), moved, share


def place_boxes(boxes: Sequence[Sequence[float]], image: Size, frame: Size, size: Size) -> tuple[Array, float]:
    """Bring boxes from an image's size to that of a frame, of which the centre is cut out; see `place`.

    The arithmetic is that of torchvision's transforms, on plain numbers: for a few boxes tensors take a millisecond.
    """
    if not len(boxes):
        return np.empty((0, 4), np.float32), math.nan
    # in float64, since edges that fall halfway between pixels must be seen to do so; torchvision scales in float32
    (height, width), (rows, columns) = image, frame
    scaled = [
        (x0 * columns / width, y0 * rows / height, x1 * columns / width, y1 * rows / height) for x0, y0, x1, y1 in boxes
    ]
    before = np.array(clipped(scaled, *frame), np.float32).reshape(-1, 4)
    if frame == size:
        return before, float(any(x0 < x1 and y0 < y1 for x0, y0, x1, y1 in pixel_edges(before)))
    area = np.count_nonzero(rasterise(before, *frame))
    top, left = corner(frame, size)
    moved = ((x0 - left, y0 - top, x1 - left, y1 - top) for x0, y0, x1, y1 in scaled)
    after = np.array(clipped(moved, *size), np.float32).reshape(-1, 4)
    # no area: no box is a pixel wide at the model's size
    return after, np.count_nonzero(rasterise(after, *size)) / area if area else 0.0


@cache
def _frame_of(resize: str) -> Callable[[Size, Size], Size]:
    """The function of a name in RESIZINGS."""
    rule: Callable[[Size, Size], Size] = loaded(RESIZINGS[resize])
    return rule


def place_mask(mask: Mask, size: Size, resize: str) -> tuple[Tensor, float]:
    """Bring a mask to the model's size as `place` brings its image, by the nearest pixel, (H, W) bool.

    With it comes the share of its area that is still in the frame; NaN of an empty one.
    """
    frame = _frame_of(resize)((mask.shape[0], mask.shape[1]), size)
    turned = mask.flags.f_contiguous  # as of runs column by column: Pillow wants rows, and a copy takes longest
    picture = Image.fromarray((mask.T if turned else mask).view(np.uint8))
    resized = np.array(picture.resize(frame if turned else frame[::-1], Image.Resampling.NEAREST), bool)
    resized = resized.T if turned else resized
    top, left = corner(frame, size)
    cut = np.ascontiguousarray(resized[top : top + size[0], left : left + size[1]])
    area, kept = np.count_nonzero(resized), np.count_nonzero(cut)
    lost = 0.0 if mask.any() else math.nan
    return torch.from_numpy(cut), kept / area if area else lost


def corner(frame: Size, size: Size) -> Size:
    """Row and column at which the centre of a frame begins that is cut out, as of torchvision's center_crop."""
    return round((frame[0] - size[0]) / 2), round((frame[1] - size[1]) / 2)
