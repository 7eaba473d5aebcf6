"""From a map to a binary area: which pixels or cells count as attended (eq. 3 of the paper).

Ties go to the lower index everywhere, so an area has exactly the size asked for.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.arrays import Areas, Maps, PerImage
from attnlab.boxes import iou, iou_of_shared, mask_of, usable
from attnlab.errors import UserError


def resize_maps(maps: Maps, size: tuple[int, int]) -> Maps:
    """Maps at image size, bilinear with align_corners False: (N, h, w) to (N, H, W)."""
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def top_k_mask(maps: Maps, counts: Tensor) -> Areas:
    """Areas of the `counts[n]` highest values of map n, 0 to h * w; of equal values the lower index comes first."""
    if maps.is_cuda:  # pragma: only on CUDA
        return _highest_by_sorting(maps, counts)
    areas = []
    for values, count in zip(maps.flatten(1), counts.tolist(), strict=True):
        threshold = values.kthvalue(len(values) - count + 1).values if count else torch.inf
        above = values > threshold
        tied = values == threshold
        areas.append(above | (tied & (tied.cumsum(0) <= count - above.sum())))
    return torch.stack(areas).view(maps.shape)


def _highest_by_sorting(maps: Maps, counts: Tensor) -> Areas:
    """The same for all maps at once, so that a GPU is waited for nowhere; five times slower on a CPU."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    wanted = torch.arange(order.shape[1], device=maps.device) < counts.to(maps.device)[:, None]
    return torch.zeros_like(order, dtype=torch.bool).scatter_(1, order, wanted).view(maps.shape)


def normalize_max(maps: Maps) -> Maps:
    """Maps after the ReLU, each scaled to a largest value of 1; all 0 where nothing is positive: (N, h, w)."""
    positive = maps.relu()
    highest_value = positive.amax((1, 2), keepdim=True)
    return positive / highest_value.where(highest_value > 0, 1)


def above_mean(maps: Maps) -> Areas:
    """Att(x) = [g(x) >= mean of g(x)] (eq. 3 with the paper's default kappa), (N, h, w), bool; never empty."""
    kappa = maps.mean((1, 2), keepdim=True)
    return maps >= torch.minimum(kappa, maps.amax((1, 2), keepdim=True))  # a rounded mean can be above all values


def is_constant(maps: Maps) -> PerImage:
    """Which maps have the same value everywhere, so that no area can be read off them: (N,), bool."""
    flat = maps.flatten(1)
    return flat.amax(1) == flat.amin(1)


def map_mask_iou(maps: Maps, masks: Areas) -> PerImage:
    """IoU of each map's area with the mask, the area being as large as the mask (eq. 5).

    With p pixels each, s of them shared, it is s / (2 p - s) = r / (2 - r), where r = s / p is relevance rank accuracy
    (Arras et al. 2022): both rank maps alike. The maps are of any resolution, the masks (N, H, W); (N,), float64, NaN
    where the mask is empty or the map constant.
    """
    areas = top_k_mask(resize_maps(maps, (masks.shape[1], masks.shape[2])), masks.flatten(1).sum(1))
    return iou(areas, masks).masked_fill(is_constant(maps), torch.nan)


def map_box_iou(maps: Maps, boxes: Sequence[Any], size: tuple[int, int]) -> PerImage:
    """`map_mask_iou` of masks that are the union of each image's boxes.

    Args:
        maps: At any resolution, (N, h, w).
        boxes: Of each image, half-open pixels of an image of that size, (B, 4); B may be 0.
        size: Height and width of the images in pixels.

    Returns:
        IoU, (N,), float64; NaN where an image has no usable box or its map is constant.

    Raises:
        UserError: If there are not as many lists of boxes as maps.

    >>> import torch
    >>> map_box_iou(torch.arange(16.0).view(1, 4, 4), [[[0, 2, 4, 4]]], (4, 4))
    tensor([1.], dtype=torch.float64)
    """
    if len(boxes) != len(maps):
        raise UserError(f"expected boxes for each of {len(maps)} maps, got those of {len(boxes)} images")
    tables = [torch.as_tensor(rows, dtype=torch.float64, device="cpu").reshape(-1, 4) for rows in boxes]
    masks = torch.stack([mask_of(usable(table, *size), *size) for table in tables])
    return map_mask_iou(maps, masks.to(maps.device))


def topk_overlap(first: Maps, second: Maps, cells: int) -> PerImage:
    """IoU of the highest cells of two maps (eq. 6).

    Args:
        cells: How many, from 1 to h * w.

    Returns:
        IoU, (N,), float64; NaN where either map is constant.

    >>> import torch
    >>> topk_overlap(torch.tensor([[[4.0, 3], [2, 1]]]), torch.tensor([[[4.0, 1], [3, 2]]]), 2)
    tensor([0.3333], dtype=torch.float64)
    """
    shared = topk_intersection(first, second)[:, cells - 1].double()
    overlap: PerImage = iou_of_shared(shared, cells)
    return overlap.masked_fill(shared < 0, torch.nan)


def topk_intersection(first: Maps, second: Maps) -> Tensor:
    """How many of the k highest cells two maps have in common, for every k at once (the numerator of eq. 6).

    Counts for k = 1 ... h * w, (N, h * w), int64; -1 throughout where either map is constant. The IoU of the two areas
    of k cells is shared / (2 k - shared).
    """
    # a cell is in both areas from the k on that reaches its worse rank
    needed = torch.maximum(_ranks(first), _ranks(second))
    shared = torch.zeros_like(needed).scatter_add_(1, needed, torch.ones_like(needed)).cumsum(1)
    return shared.masked_fill((is_constant(first) | is_constant(second))[:, None], -1)


def _ranks(maps: Maps) -> Tensor:
    """Rank of every cell, 0 for the highest, the lower index first among equals: (N, h * w)."""
    return maps.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
