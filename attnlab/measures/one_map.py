"""Measures of one map over the attention layer's grid, (N, h, w): how scattered it is; (N,), float64.

They take the positive part, and are NaN where the map is constant or has none.
"""

import math

import numpy as np
import torch
from torch import Tensor

from attnlab.arrays import Areas, Maps, PerImage
from attnlab.attention.map_metrics import above_mean, is_constant, normalize_max

EIGHT = np.ones((3, 3), int)  # a cell is connected with the eight around it


def is_blank(maps: Maps) -> PerImage:
    """Which maps are constant or have no positive value: (N,), bool."""
    positive: Tensor = maps.flatten(1).amax(1) > 0
    return is_constant(maps) | ~positive


def entropy(grids: Maps) -> PerImage:
    """Entropy (Shannon 1948) of the positive part scaled to a sum of 1, in [0, 1]: 1 where all cells weigh the same.

    >>> entropy(torch.tensor([[[2.0, 2.0], [-1.0, 0.0]]]))
    tensor([0.5000], dtype=torch.float64)
    """
    positive = grids.double().relu().flatten(1)
    shares = positive / positive.sum(1, keepdim=True)
    nats = torch.special.entr(shares).sum(1)
    share: PerImage = nats / math.log(shares.shape[1])
    return share.masked_fill(is_blank(grids), torch.nan)


def components(grids: Maps) -> PerImage:
    """Number of 8-connected parts of the area Att = [g >= mean of g], g being the positive part (eq. 3 of the paper).

    >>> components(torch.tensor([[[9.0, 0, 0], [0, 0, 0], [0, 0, 9]]]))
    tensor([2.], dtype=torch.float64)
    """
    return _count(above_mean(grids.double().relu()), grids)


def components_half(grids: Maps) -> PerImage:
    """Number of 8-connected parts of the cells that reach half the maximum."""
    return _count(normalize_max(grids.double()) >= 0.5, grids)


def _count(areas: Areas, grids: Maps) -> PerImage:
    from scipy.ndimage import label  # which no run waits for

    counts = [label(area, EIGHT)[1] for area in areas.cpu().numpy()]
    return torch.tensor(counts, dtype=torch.float64).masked_fill(is_blank(grids).cpu(), torch.nan)
