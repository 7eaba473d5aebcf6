"""Brightness, contrast, elastic transform, pixels and JPEG: pixels 0 to 255, (H, W, 3), in and out."""

from io import BytesIO
from typing import Literal

import numpy as np
from numpy.random import RandomState
from PIL import Image
from scipy import ndimage

from attnlab.attacks.corruptions.noise import Pixels, to_levels


def brightness(pixels: Pixels, more: float, _random: RandomState) -> Pixels:
    """Raise the value of hue, saturation and value."""
    from skimage.color import hsv2rgb, rgb2hsv

    image = rgb2hsv(pixels / 255.0)
    image[..., 2] = np.clip(image[..., 2] + more, 0, 1)
    return to_levels(hsv2rgb(image))


def contrast(pixels: Pixels, share: float, _random: RandomState) -> Pixels:
    """Leave a share of each channel's distance from its mean."""
    image = pixels / 255.0
    means = image.mean((0, 1), keepdims=True)
    return to_levels((image - means) * share + means)


def elastic(pixels: Pixels, strength: tuple[float, float, float], random: RandomState) -> Pixels:
    """Move three points by an affine transform, then each pixel by smooth noise; edges are mirrored."""
    alpha, sigma, reach = strength
    image = pixels.astype(np.float32) / 255
    shape = image.shape[:2]
    centre, arm = np.asarray(shape, np.float32) // 2, min(shape) // 3
    points = np.asarray([centre + arm, [centre[0] + arm, centre[1] - arm], centre - arm], np.float32)
    moved = points + random.uniform(-reach, reach, size=points.shape).astype(np.float32)
    rows, columns = np.meshgrid(*map(np.arange, shape), indexing="ij")
    warped = _sampled(image, _before(points, moved, rows, columns), "mirror")
    noise = []
    for _axis in range(2):
        drawn = random.uniform(-1, 1, size=shape)
        noise.append((ndimage.gaussian_filter(drawn, sigma, mode="reflect", truncate=3) * alpha).astype(np.float32))
    right, down = noise
    return to_levels(_sampled(warped, (rows + down, columns + right), "reflect"))


def _before(points: Pixels, moved: Pixels, rows: Pixels, columns: Pixels) -> tuple[Pixels, Pixels]:
    """Rows and columns that an affine transform takes to these, in 32nds of a pixel as OpenCV rounds them.

    It takes three points, (3, 2), each x and y, to the moved ones.
    """
    ones = np.ones((3, 1))
    forth = np.linalg.solve(np.hstack([points.astype(float), ones]), moved.astype(float)).T  # (2, 3)
    turn = np.linalg.inv(forth[:, :2])
    start = -turn @ forth[:, 2]
    x, y = (
        (np.rint(1024 * along * columns) + np.rint(1024 * (across * rows + first)) + 16) // 32 / 32
        for (along, across), first in zip(turn, start, strict=True)
    )
    return y, x


def _sampled(image: Pixels, at: tuple[Pixels, Pixels], mode: Literal["mirror", "reflect"]) -> Pixels:
    """An image's values, (H, W, C), at rows and columns, bilinear."""
    channels = np.moveaxis(image, 2, 0)
    return np.stack([ndimage.map_coordinates(channel, at, order=1, mode=mode) for channel in channels], 2)


def pixelate(pixels: Pixels, share: float, _random: RandomState) -> Pixels:
    """Shrink both sides to a share, and enlarge again, by boxes."""
    image = Image.fromarray(pixels)
    small = image.resize((int(image.width * share), int(image.height * share)), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.BOX))


def jpeg(pixels: Pixels, quality: int, _random: RandomState) -> Pixels:
    """Write as JPEG of a quality, and read."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
