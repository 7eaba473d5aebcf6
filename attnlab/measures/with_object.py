"""Measures of a map against the object in the image, (N,), float64.

The maps are signed, at the images' size, (N, H, W); the masks are the ground truth, (N, H, W), bool. Each is NaN where
the mask is empty or the map constant.
"""

import torch
from torch import Tensor

from attnlab.arrays import Areas, Maps, PerImage
from attnlab.attention.map_metrics import is_constant
from attnlab.measures.chance import tolerance


def pointing(maps: Maps, masks: Areas) -> PerImage:
    """Pointing game (Zhang et al. 2018): 1 where the highest pixel lies on the mask or near it, else 0.

    Near is a distance of at most 15 pixels of an image whose shorter side is 224, and the same share of other sizes
    (20 of 299). Of equal pixels the first, row by row, is the highest.

    >>> maps, masks = torch.zeros(1, 224, 224), torch.zeros(1, 224, 224, dtype=torch.bool)
    >>> maps[0, 100, 100] = 1
    >>> masks[0, 100, 115:] = True
    >>> pointing(maps, masks)
    tensor([1.], dtype=torch.float64)
    """
    height, width = masks.shape[1:]
    highest = maps.flatten(1).argmax(1)[:, None, None]
    down = torch.arange(height, device=maps.device)[:, None] - highest // width
    across = torch.arange(width, device=maps.device) - highest % width
    near = down.square() + across.square() <= tolerance(height, width) ** 2  # (N, H, W)
    return _known((near & masks).flatten(1).any(1).double(), maps, masks)


def mass(maps: Maps, masks: Areas) -> PerImage:
    """Energy-based pointing game (Wang et al. 2020), or relevance mass accuracy (Arras et al. 2022).

    The sum of the positive values on the mask over the sum of all positive values; NaN also where nothing is positive.

    >>> mass(torch.tensor([[[3.0, 1.0], [-5.0, 0.0]]]), torch.tensor([[[True, False], [True, False]]]))
    tensor([0.7500], dtype=torch.float64)
    """
    positive = maps.double().relu()
    # 0 / 0 is NaN
    return _known((positive * masks).sum((1, 2)) / positive.sum((1, 2)), maps, masks)


def auc(maps: Maps, masks: Areas) -> PerImage:
    """Area under the ROC curve of the pixels, the mask's being the positive ones (Fawcett 2006, sec. 7).

    (R - P (P + 1) / 2) / (P Q) of P pixels on the mask with ranks of sum R and Q beside it; equal pixels share their
    mean rank. NaN also where the mask is the whole image.
    """
    inside = masks.flatten(1).double()
    positives = inside.sum(1)
    ranks = (midranks(maps) * inside).sum(1)
    area = (ranks - positives * (positives + 1) / 2) / (positives * (inside.shape[1] - positives))
    return _known(area, maps, masks)


def midranks(maps: Tensor) -> Tensor:
    """Rank of every value of a map, 1 for the lowest, equal values sharing their mean rank: (N, h * w), float64."""
    values, order = maps.flatten(1).sort(dim=1)
    # number of the run of equal values that each belongs to
    run = torch.zeros_like(order)
    run[:, 1:] = (values[:, 1:] != values[:, :-1]).cumsum(1)
    sizes = torch.zeros(order.shape, dtype=torch.float64, device=maps.device)
    sizes.scatter_add_(1, run, torch.ones_like(sizes))
    mean = sizes.cumsum(1) - (sizes - 1) / 2
    return torch.zeros_like(mean).scatter_(1, order, mean.gather(1, run))


def _known(values: PerImage, maps: Maps, masks: Areas) -> PerImage:
    """The values, NaN where the mask is empty or the map constant."""
    return values.masked_fill(is_constant(maps) | ~masks.flatten(1).any(1), torch.nan)
