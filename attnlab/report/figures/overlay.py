"""A map over its image, as an array: quick enough for thousands of images."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import binary_erosion

from attnlab.views import Map, visible

Picture = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]

#: share of the colour at the highest value; it falls with the root of the value, so that weak attention is seen too
OPACITY = 0.8
#: of red, green and blue in the grey image under a map (ITU-R BT.601)
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
LEVELS = 256


def overlay(
    image: Array,
    attention: Map | None = None,
    boxes: Sequence[Sequence[float]] | Array = (),
    *,
    mask: Array | None = None,
    high: float | None = None,
    cells: bool = False,
    scale: int = 1,
) -> Picture:
    """An image with its map over it and its boxes or mask outlined, as in Figs. 1-3, 6, 7 and 9-13 of the paper.

    Args:
        image: Pixels in [0, 1], (H, W, C), of which what is `visible` is drawn.
        attention: Signed map, (h, w), enlarged bilinearly; negative values show nothing. None for the image alone.
        boxes: Half-open pixels, (B, 4).
        mask: Which pixels belong to the object, (H, W), bool.
        high: Value that has the last colour; by default the map's largest.
        cells: Draw the borders of the map's cells, where they are larger than pixels.
        scale: Side of an image's pixel in the result.

    Returns:
        Levels 0 to 255, (H scale, W scale, 3), uint8.
    """
    image = visible(image)
    large = _repeat(image, scale)
    if attention is None:
        picture = _levels(np.broadcast_to(large, (*large.shape[:2], 3)))
    else:
        exact = attention.shape == image.shape[:2]  # one value a pixel, as of superpixels
        values = _repeat(attention, scale) if exact else resize_maps(attention, large.shape[:2])
        picture = blend(large, values, highest(attention) if high is None else high)
        if cells and not exact:
            _lines(picture, attention.shape)
    width = 1 + min(large.shape[:2]) // 250
    for box in boxes:
        _frame(picture, [round(edge * scale) for edge in np.asarray(box, float).tolist()], width)
    if mask is not None:
        _outline(picture, _repeat(mask, scale), width)
    return picture


def resize_maps(attention: Map, size: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """A map at image size, bilinear as torch's interpolate with align_corners False: (h, w) to (H, W)."""
    small = Image.fromarray(np.ascontiguousarray(attention, np.float32))
    return np.asarray(small.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def blend(image: Array, values: Array, high: float) -> Picture:
    """Colours of the values, (H, W), over the image in grey: levels 0 to 255, (H, W, 3), uint8.

    Values from `high` on have the last colour, those up to 0 none; nothing is coloured where `high` is not above 0.
    """
    grey = image[..., 0] if image.shape[2] == 1 else image @ LUMINANCE
    colours, left = _colours()
    # NaN, as of a map that could not be computed, shows nothing
    steps = np.nan_to_num(values * ((LEVELS - 1) / high if high > 0 else 0)).clip(0, LEVELS - 1).astype(np.intp)
    return _levels(colours[steps] + (grey * left[steps])[..., None])


def colour_bar(height: int) -> Picture:
    """The colours from the lowest value, at the bottom, to the highest, over mid-grey: (height, 1, 3), uint8."""
    return blend(np.full((height, 1, 1), 0.5, np.float32), np.linspace(1, 0, height)[:, None], 1.0)


@cache
def _colours() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Of each level the colour to add, (LEVELS, 3), and the share of the image that is left, (LEVELS,)."""
    levels = np.linspace(0, 1, LEVELS)
    share = OPACITY * np.sqrt(levels)
    colours = matplotlib.colormaps["inferno"](levels)[:, :3]
    return (colours * share[:, None]).astype(np.float32), (1 - share).astype(np.float32)


def _repeat(values: Array, scale: int) -> Array:
    """Each pixel as a square of so many."""
    return values if scale == 1 else np.repeat(np.repeat(values, scale, 0), scale, 1)


def highest(attention: Map) -> float:
    """The largest value of a map, NaN counting as 0."""
    return float(np.nan_to_num(attention).max())


def _levels(pixels: Array) -> Picture:
    levels: Picture = (pixels * 255 + 0.5).clip(0, 255).astype(np.uint8)
    return levels


def _lines(picture: Picture, cells: tuple[int, ...]) -> None:
    """Lighten the borders between the cells of a map."""
    for axis in (0, 1):
        edges = [round(picture.shape[axis] * cell / cells[axis]) for cell in range(1, cells[axis])]
        index: tuple[Any, ...] = (edges,) if axis == 0 else (slice(None), edges)
        picture[index] = picture[index] // 3 * 2 + 85


def _outline(picture: Picture, mask: Array, width: int) -> None:
    """Draw a mask's inner border, white with a black line inside."""
    for thick, colour in ((width, 255), (1, 0)):
        inside = binary_erosion(mask, iterations=thick)
        picture[mask & ~inside] = colour
        mask = inside


def _frame(picture: Picture, box: list[int], width: int) -> None:
    """Draw a box's inner border, white with a black line inside."""
    height, length = picture.shape[:2]
    for inset, colour in ((0, 255), (width, 0)):
        x0, y0 = max(box[0], 0) + inset, max(box[1], 0) + inset
        x1, y1 = min(box[2], length) - inset, min(box[3], height) - inset
        if x0 >= x1 or y0 >= y1:
            return
        thick = width if colour else 1
        inner = picture[y0:y1, x0:x1]
        for edge in (inner[:thick], inner[-thick:], inner[:, :thick], inner[:, -thick:]):
            edge[:] = colour
