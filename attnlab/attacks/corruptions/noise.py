"""Noise: pixels 0 to 255, (H, W, 3), in and out."""

from typing import Any

import numpy as np
from numpy.random import RandomState

Pixels = np.ndarray[Any, np.dtype[Any]]


def gaussian(pixels: Pixels, scale: float, random: RandomState) -> Pixels:
    """Add normal noise."""
    values = pixels / 255.0
    return to_levels(values + random.normal(size=values.shape, scale=scale))


def shot(pixels: Pixels, photons: int, random: RandomState) -> Pixels:
    """Count photons: Poisson noise at so many for white."""
    counts: Pixels = random.poisson(pixels / 255.0 * photons)
    return to_levels(counts / photons)


def impulse(pixels: Pixels, amount: float, random: RandomState) -> Pixels:
    """Turn a share of the values into 0 or 255, as likely as each other, in scikit-image's order of draws."""
    flipped = random.random_sample(pixels.shape) < amount
    salted = random.random_sample(pixels.shape) < 0.5
    return np.where(flipped, np.where(salted, 255, 0), pixels)


def to_levels(image: Pixels) -> Pixels:
    """An image in [0, 1], what is beyond cut off, as pixels 0 to 255."""
    levels: Pixels = np.clip(image, 0, 1) * 255
    return levels
