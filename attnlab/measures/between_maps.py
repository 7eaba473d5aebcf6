"""Measures of how alike two maps of an image are, or how far one has moved, (N,), float64.

Both maps are over the attention layer's grid, (N, h, w), as records hold them, so that methods of any resolution are
measured alike; cells count as squares, and the diagonal is sqrt(h^2 + w^2) cells. What ranks cells takes signed maps
and is NaN where either map is constant; the others take the positive parts and are NaN also where nothing is positive.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.arrays import Maps, PerImage
from attnlab.attention.map_metrics import is_constant, normalize_max, topk_overlap
from attnlab.measures.chance import fifth
from attnlab.measures.one_map import is_blank
from attnlab.measures.with_object import midranks

WINDOW = 3  # cells a side of the window of SSIM: the 11 of Wang et al. is more than a grid of 7 x 7 has
C1, C2 = 0.01**2, 0.03**2  # their constants, of values up to 1
ITERATIONS = 10_000_000  # of the network simplex, far more than it takes


def top_iou(first: Maps, second: Maps) -> PerImage:
    """IoU of the highest fifth of the cells of both maps (eq. 6 of the paper): 10 of 49 cells, 13 of 64."""
    return topk_overlap(first, second, fifth(first[0].numel()))


def spearman(first: Maps, second: Maps) -> PerImage:
    """Correlation of the ranks of the cells (Spearman 1904), in [-1, 1]; equal cells share their mean rank."""
    ranks = [midranks(maps) for maps in (first, second)]
    left, right = (rank - rank.mean(1, keepdim=True) for rank in ranks)
    correlation: PerImage = (left * right).sum(1) / (left.norm(dim=1) * right.norm(dim=1))
    return correlation.masked_fill(is_constant(first) | is_constant(second), torch.nan)


def ssim(first: Maps, second: Maps) -> PerImage:
    """Structural similarity (Wang et al. 2004, eq. 13), in [-1, 1], of the positive parts scaled to a maximum of 1.

    The mean over all windows of 3 x 3 cells inside the grid, each cell weighing the same, of
    (2 m1 m2 + C1)(2 c + C2) / ((m1^2 + m2^2 + C1)(v1 + v2 + C2)): m their means, v their variances (over 9, not 8), c
    the covariance, C1 = .01^2 and C2 = .03^2. NaN also on a grid that is smaller than the window.
    """
    if min(first.shape[1:]) < WINDOW:
        return torch.full((len(first),), torch.nan, dtype=torch.float64)
    left, right = (normalize_max(maps.double()) for maps in (first, second))
    mean1, mean2 = _windows(left), _windows(right)
    variances = _windows(left * left) - mean1**2 + _windows(right * right) - mean2**2
    covariance = _windows(left * right) - mean1 * mean2
    similarity = (2 * mean1 * mean2 + C1) * (2 * covariance + C2)
    similarity = similarity / ((mean1**2 + mean2**2 + C1) * (variances + C2))
    return _known(similarity.mean((1, 2)), first, second)


def _windows(values: Tensor) -> Tensor:
    """Mean of each window, (N, h - 2, w - 2)."""
    return F.avg_pool2d(values[:, None], WINDOW, stride=1)[:, 0]


def cosine(first: Maps, second: Maps) -> PerImage:
    """Cosine of the angle between the positive parts as vectors, in [0, 1]."""
    left, right = (normalize_max(maps.double()).flatten(1) for maps in (first, second))
    return _known((left * right).sum(1) / (left.norm(dim=1) * right.norm(dim=1)), first, second)


def emd(first: Maps, second: Maps) -> PerImage:
    """Earth mover's distance (Rubner et al. 2000) of the positive parts, each scaled to a sum of 1, in [0, 1].

    The least sum of mass times way, ways being Euclidean between the cells' centres, in shares of the diagonal. POT's
    network simplex solves it exactly: a millisecond of 49 cells, 7 of 196, on one core.
    """
    import ot  # takes a second

    height, width = first.shape[1:]
    centres = torch.cartesian_prod(torch.arange(height), torch.arange(width)).double()
    ways = (torch.cdist(centres, centres) / math.hypot(height, width)).numpy()
    blank = (is_blank(first) | is_blank(second)).tolist()
    pairs = zip(_shares(first).cpu().numpy(), _shares(second).cpu().numpy(), strict=True)
    values = [
        math.nan if empty else ot.emd2(*pair, ways, numItermax=ITERATIONS)
        for pair, empty in zip(pairs, blank, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64)


def shift(first: Maps, second: Maps) -> PerImage:
    """Way between the centres of mass of the positive parts, as a share of the diagonal, in [0, 1).

    At most the earth mover's distance: all mass moves at least as far as its mean does.
    """
    height, width = first.shape[1:]
    centres = torch.cartesian_prod(torch.arange(height), torch.arange(width)).to(first.device).double()
    ways = (_shares(first) - _shares(second)) @ centres
    return _known(ways.norm(dim=1) / math.hypot(height, width), first, second)


def _shares(maps: Maps) -> Tensor:
    """Share of each cell in the positive part, (N, h * w); NaN where there is none."""
    positive = maps.double().relu().flatten(1)
    return positive / positive.sum(1, keepdim=True)


def _known(values: PerImage, first: Maps, second: Maps) -> PerImage:
    return values.masked_fill(is_blank(first) | is_blank(second), torch.nan)
