"""Superpixels: an image cut into segments, and the area of an explanation that weighs them.

Images are cut in worker processes. Nothing here knows torch, so that workers start fast.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np

from attnlab.errors import check_one_of
from attnlab.worker_pool import worker_pool

Image = np.ndarray[Any, np.dtype[np.floating[Any]]]
Labels = np.ndarray[Any, np.dtype[np.uint16]]
Weights = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

GRID = 8  # side of a grid's squares, as a share of the image's shorter side


def quickshift(image: Image, seed: int) -> np.ndarray[Any, Any]:
    """Quickshift (Vedaldi and Soatto 2008) as lime calls it: kernel size 4, maximal distance 200, ratio 0.2."""
    from skimage import segmentation

    rng = seed % 2**31  # a C int
    labels = segmentation.quickshift(image, kernel_size=4, max_dist=200, ratio=0.2, rng=rng)
    return np.asarray(labels)


def slic(image: Image, _seed: int) -> np.ndarray[Any, Any]:
    """SLIC (Achanta et al. 2012), about 50 segments."""
    from skimage import segmentation

    return np.asarray(segmentation.slic(image, n_segments=50, start_label=0))


def grid(image: Image, _seed: int) -> np.ndarray[Any, Any]:
    """Squares of an eighth of the image's shorter side."""
    height, width = image.shape[:2]
    side = max(1, min(height, width) // GRID)
    rows, columns = np.arange(height) // side, np.arange(width) // side
    return np.asarray(rows[:, None] * (columns[-1] + 1) + columns)


#: name -> function(image (H, W, 3) in [0, 1], seed) -> labels (H, W)
SEGMENTERS = {"quickshift": quickshift, "slic": slic, "grid": grid}
#: images whose shorter side is at most this, or that are shown in grey, are cut by slic: quickshift finds 1 to 3
#: segments in a digit of MNIST, and 3 to 8 in a scene
SMALL = 64
FEW = 8  # an explanation of fewer superpixels says little: Tables 4 and 5 are of the 8 and 10 of largest weight


def method_for(channels: int, size: tuple[int, int]) -> str:
    """The method that `auto` means for images of so many channels, at the model's height and width."""
    return "slic" if channels < 3 or min(size) <= SMALL else "quickshift"


def superpixels(image: Image, method: str, seed: int) -> Labels:
    """Cut an image, (C, H, W), as it is shown (of more than three channels the first three, of two the first).

    `method` is one of SEGMENTERS; the seed decides the ties of quickshift.

    Returns:
        Labels 0 ... n - 1, every one of them used, (H, W), uint16.
    """
    segmenter = SEGMENTERS[check_one_of(method, SEGMENTERS, "--lime-superpixels")]
    colour = np.repeat(image[:1], 3, axis=0) if len(image) < 3 else image[:3]
    labels = segmenter(np.ascontiguousarray(colour.transpose(1, 2, 0), dtype=np.float64), seed)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.uint16)


def strongest(weights: Weights, features: int) -> Mask:
    """The positive ones among the `features` superpixels with the largest absolute weight, (superpixels,).

    What lime's get_image_and_mask marks as 1 with positive_only=False.
    """
    order = np.argsort(-np.abs(weights), kind="stable")[:features]
    chosen = np.zeros(len(weights), bool)
    chosen[order] = weights[order] > 0
    return chosen


def area(weights: Weights, segments: Labels, features: int) -> Mask:
    """Area of an explanation: the union of its `strongest` superpixels, (H, W)."""
    return strongest(weights, features)[segments]


@contextmanager
def segmenting(workers: int) -> Iterator[Callable[[Image, str, int], "Future[Labels]"]]:
    """Yield `superpixels` as a function that returns a future, of so many processes; 0 does the work here, at once."""
    if workers == 0:
        yield _at_once
        return
    with worker_pool(workers) as pool:
        yield lambda image, method, seed: pool.submit(superpixels, image, method, seed)


def _at_once(image: Image, method: str, seed: int) -> "Future[Labels]":
    future: Future[Labels] = Future()
    future.set_result(superpixels(image, method, seed))
    return future
