"""Weather: pixels 0 to 255, (H, W, 3), in and out."""

import numpy as np
from numpy.random import RandomState

from attnlab.attacks.corruptions.blur import dragged, enlarged
from attnlab.attacks.corruptions.noise import Pixels, to_levels
from attnlab.attacks.corruptions.photographs import photograph
from attnlab.errors import UserError

GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue in what is seen as grey
PHOTOGRAPHS = 5  # of the six, since the authors draw among five


def snow(pixels: Pixels, flakes: tuple[float, ...], random: RandomState) -> Pixels:
    """Whiten the image, and let blurred flakes fall over it in two directions."""
    mean, spread, size, least, radius, sigma, share = flakes
    image = pixels.astype(np.float32) / 255
    layer = enlarged(random.normal(size=image.shape[:2], loc=mean, scale=spread), size)
    layer = np.where(layer < least, 0, np.clip(layer, 0, 1))
    fallen = dragged((layer * 255).astype(np.uint8), radius, sigma, random.uniform(-135, -45))[..., None] / 255.0
    grey = (image @ np.asarray(GREY, np.float32))[..., None]
    image = share * image + (1 - share) * np.maximum(image, grey * 1.5 + 0.5)
    return to_levels(image + fallen + np.rot90(fallen, 2))


def fog(pixels: Pixels, cloud: tuple[float, float], random: RandomState) -> Pixels:
    """Lay a cloud of plasma over the image, as bright as its brightest value."""
    strength, decay = cloud
    image = pixels / 255.0
    brightest, (height, width) = image.max(), image.shape[:2]
    image = image + strength * plasma(max(height, width), decay, random)[:height, :width, None]
    return to_levels(image * brightest / (brightest + strength))


def frost(pixels: Pixels, layer: tuple[float, float, float], random: RandomState) -> Pixels:
    """Lay a piece of a photograph of frost, at a scale, over the image."""
    of_image, of_frost, scale = layer
    frozen = photograph(random.randint(PHOTOGRAPHS), scale)
    height, width = pixels.shape[:2]
    if frozen.shape[0] <= height or frozen.shape[1] <= width:
        raise UserError(
            f"expected images below {frozen.shape[1]} x {frozen.shape[0]} pixels for frost, a piece of a photograph of "
            f"that size, got {width} x {height}"
        )
    top, left = random.randint(0, frozen.shape[0] - height), random.randint(0, frozen.shape[1] - width)
    laid: Pixels = of_image * pixels + of_frost * frozen[top : top + height, left : left + width]
    return laid.clip(0, 255)


def plasma(side: int, decay: float, random: RandomState) -> Pixels:
    """A cloud by the diamond-square algorithm, from 0 to 1, square, its side the next power of two."""
    side = 1 << (side - 1).bit_length()
    cloud = np.zeros((side, side))
    step, wobble = side, 100.0

    def mean(total: Pixels) -> Pixels:
        return total / 4 + wobble * random.uniform(-wobble, wobble, total.shape)

    while step >= 2:
        half = step // 2
        corners = cloud[::step, ::step]
        total = corners + np.roll(corners, -1, 0)
        cloud[half::step, half::step] = mean(total + np.roll(total, -1, 1))
        middles = cloud[half::step, half::step]
        above = corners + np.roll(corners, -1, 1)
        cloud[::step, half::step] = mean(middles + np.roll(middles, 1, 0) + above)
        beside = corners + np.roll(corners, -1, 0)
        cloud[half::step, ::step] = mean(middles + np.roll(middles, 1, 1) + beside)
        step, wobble = half, wobble / decay
    cloud -= cloud.min()
    cloud /= cloud.max()
    return cloud
