"""Pictures small enough to lie inside a page: thumbnails, maps and areas as base64 text."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from skimage import measure

from attnlab.superpixels import Mask
from attnlab.views import Pixels, visible

#: bytes that all thumbnails of a page may take together, as base64; of a large run's, which holds more beside them
PAGE_BYTES, LARGE_PAGE_BYTES = 24_000_000, 12_000_000
#: JPEG quality -> bytes of a pixel to reckon with, as base64, where half the images are under an attack of 16/255
QUALITIES = {95: 1.6, 80: 0.6}
SMALLEST = 64  # pixels below which no side is shrunk; pages of very many images grow instead

Size = tuple[int, int]


def fit(count: int, size: Size, room: int = PAGE_BYTES) -> tuple[Size, int]:
    """Height and width of so many thumbnails of images of a size, and their JPEG quality, so that they fit into room.

    All get one size, at most that of the images, so that none looks sharper than its neighbour.
    """
    best, least = QUALITIES
    if count * size[0] * size[1] * QUALITIES[best] <= room:
        return size, best
    shrink = min(1.0, (room / (count * size[0] * size[1] * QUALITIES[least])) ** 0.5)
    shrink = min(1.0, max(shrink, SMALLEST / min(size)))
    return (round(size[0] * shrink), round(size[1] * shrink)), least


def as_jpeg(pixels: Pixels, size: Size, quality: int) -> str:
    """An image, pixels in [0, 1], (H, W, C), shrunk to a size, as a JPEG file of that quality, base64.

    It shows what is `visible`.
    """
    levels = (np.clip(visible(pixels), 0, 1) * 255).round().astype(np.uint8)
    image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    if size != pixels.shape[:2]:
        image = image.resize(size[::-1], Image.Resampling.BOX)
    file = io.BytesIO()
    # colour at full resolution: an attack changes colours from pixel to pixel, and halved they would look untouched
    image.save(file, "JPEG", quality=quality, subsampling=0, optimize=True)
    return _text(file.getvalue())


def as_map(values: Sequence[float]) -> str:
    """A signed map in 256 levels, base64: a byte for the level of zero, then one for each cell."""
    cells = np.asarray(values, np.float64)
    low, high = min(cells.min(), 0.0), max(cells.max(), 0.0)
    levels = np.append(0.0, cells) - low
    return _text((levels * (255 / (high - low) if high > low else 0)).round().astype(np.uint8).tobytes())


def as_mask(mask: Mask) -> str:
    """An area as a PNG that is transparent outside it, base64."""
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG", optimize=True, transparency=0)
    return _text(file.getvalue())


def as_outline(mask: Mask) -> str:
    """The border of a mask as the path of an SVG in pixels of the image, to half a pixel."""
    rings = measure.find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    paths = []
    for ring in rings:
        points = measure.approximate_polygon(ring, 0.5) - 0.5  # of the padding one pixel, to borders half a pixel
        paths.append("M" + "L".join(f"{x:.4g} {y:.4g}" for y, x in points[:-1]) + "Z")
    return "".join(paths)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
