"""Blur: pixels 0 to 255, (H, W, 3), in and out."""

import numpy as np
from numpy.random import RandomState
from scipy import ndimage

from attnlab.attacks.corruptions.noise import Pixels, to_levels


def defocus(pixels: Pixels, shape: tuple[float, float], _random: RandomState) -> Pixels:
    """Correlate with a disk of a radius whose edge is smoothed by a Gaussian; edges are mirrored."""
    radius, smoothing = shape
    side, width = (np.arange(-8, 9), 3) if radius <= 8 else (np.arange(-radius, radius + 1), 5)
    across, down = np.meshgrid(side, side)
    disk = np.asarray(across**2 + down**2 <= radius**2, np.float32)
    near = np.exp(-((np.arange(width) - width // 2) ** 2) / (2 * smoothing**2))
    kernel: Pixels = disk / disk.sum()
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, near / near.sum(), axis, mode="mirror")
    filled = np.abs(side[np.flatnonzero(kernel.any(0))]).max()
    middle = len(side) // 2
    kernel = kernel[middle - filled : middle + filled + 1, middle - filled : middle + filled + 1]
    blurred = ndimage.correlate(pixels / 255.0, kernel[..., None].astype(np.float64), mode="mirror")
    return to_levels(blurred)


def glass(pixels: Pixels, strength: tuple[float, int, int], random: RandomState) -> Pixels:
    """Blur, move pixels about, blur again.

    The authors mean to swap two pixels, but numpy's views make a copy of one of it; here it is a copy, too.
    """
    sigma, reach, turns = strength
    smoothed = (_gaussian(pixels / 255.0, sigma) * 255).astype(np.uint8)
    height, width = smoothed.shape[:2]
    rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
    source = list(range(height * width))
    for _turn in range(turns):
        moves = iter(random.randint(-reach, reach, size=(len(rows) * len(columns), 2)).tolist())
        for row in rows:
            for column in columns:
                right, down = next(moves)
                source[row * width + column] = source[(row + down) * width + column + right]
    moved = smoothed.reshape(-1, smoothed.shape[2])[source].reshape(smoothed.shape)
    return to_levels(_gaussian(moved / 255.0, sigma))


def motion(pixels: Pixels, shape: tuple[float, float], random: RandomState) -> Pixels:
    """Drag the image along a line of -45 to 45 degrees."""
    return dragged(pixels, *shape, random.uniform(-45, 45))


def dragged(pixels: Pixels, radius: float, sigma: float, angle: float) -> Pixels:
    """ImageMagick's motion blur, (H, W, ...), uint8: half a Gaussian along a line, edges repeated.

    It rounds to levels of 16 bits, and what is read back cuts these off to 8.
    """
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    slope = np.deg2rad(angle)
    down, right = (np.ceil(steps * part - 0.5).astype(int) for part in (np.sin(slope), np.cos(slope)))
    height, width = pixels.shape[:2]
    total = np.zeros(pixels.shape)
    for step, weight in enumerate(weights):
        rows = np.clip(np.arange(height) + down[step], 0, height - 1)
        columns = np.clip(np.arange(width) + right[step], 0, width - 1)
        total += weight * pixels[rows][:, columns]
    return (np.floor(257 * total + 0.5) // 257).astype(np.uint8)


def zoomed(pixels: Pixels, zooms: tuple[float, float], _random: RandomState) -> Pixels:
    """Average the image and its enlargements by factors from 1 to an end, so far apart."""
    end, apart = zooms
    factors = np.arange(1, end, apart)
    image = (pixels / 255.0).astype(np.float32)
    total = np.zeros_like(image)
    for factor in factors:
        total += enlarged(image, factor)
    return to_levels((image + total) / (len(factors) + 1))


def enlarged(image: Pixels, factor: float) -> Pixels:
    """The middle of an image, (H, W, ...), at its size."""
    height, width = image.shape[:2]
    rows, columns = (int(np.ceil(side / factor)) for side in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    inner = image[top : top + rows, left : left + columns]
    grown = ndimage.zoom(inner, (factor, factor, *[1] * (image.ndim - 2)), order=1)
    top, left = (grown.shape[0] - height) // 2, (grown.shape[1] - width) // 2
    return grown[top : top + height, left : left + width]


def _gaussian(image: Pixels, sigma: float) -> Pixels:
    """An image smoothed along its rows and columns, edges repeated, as scikit-image does."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest")
