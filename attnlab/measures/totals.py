"""Measures that are no mean over images: one number of what the images give for each threshold; no torch.

A sum over images is all that they need, so a bootstrap weighs the images instead of copying them.
"""

from typing import Any

import numpy as np

from attnlab.measures import DELTAS, THRESHOLDS

Array = np.ndarray[Any, np.dtype[np.float64]]


def max_box_acc(values: Array, weights: Array) -> Array:
    """MaxBoxAccV2 (Choe et al. 2020): mean over delta of the highest share of images whose box has an IoU >= delta.

    `values` come from `box_ious`, (n, THRESHOLDS); how often each image counts is in `weights`, (R, n): (R,).
    """
    shares = [weights @ (values >= delta) / weights.sum(1, keepdims=True) for delta in DELTAS]
    mean: Array = np.mean([share.max(1) for share in shares], 0)
    return mean


def pxap(values: Array, weights: Array) -> Array:
    """PxAP (Choe et al. 2020): sum over thresholds, from the highest on, of precision x what recall gains.

    Of all pixels of all images together; `values` come from `pixel_counts`, (n, 2 THRESHOLDS), `weights` and result as
    of `max_box_acc`. Before the highest threshold recall is 0.
    """
    inside, beside = np.split(weights @ values, [THRESHOLDS], 1)
    recall = inside / inside[:, :1]  # the lowest threshold keeps every pixel
    gains = recall - np.pad(recall[:, 1:], ((0, 0), (0, 1)))
    kept = inside + beside
    precision = np.divide(inside, kept, out=np.zeros_like(kept), where=kept > 0)
    area: Array = (precision * gains).sum(1)
    return area
