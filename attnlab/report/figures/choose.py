"""Which images figures show: by rules, so that nobody picks them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from attnlab.looks import Map, spread
from attnlab.report.tables import GROUPS

#: confidence in the label from which a model counts as sure
HIGH_CONFIDENCE = 0.9


def typical(images: pd.DataFrame) -> dict[str, str]:
    """Of each group the image whose IoU with the boxes is the group's median: the images of Figs. 1 and 3.

    Where there is no IoU, the confidence in the label stands in; of an even number of images the lower middle is taken.

    Args:
        images: I_att of one eps.

    Returns:
        Group -> image id; a group without images is not there.
    """
    measure = measured_by(images)
    chosen: dict[str, str] = {}
    for group in GROUPS:
        mine = images[images["group"] == group]
        for place in spread(mine[measure].to_numpy(), 1):
            chosen[group] = str(mine["image_id"].iloc[place])
    return chosen


def measured_by(images: pd.DataFrame) -> str:
    """Column that images are ranked by: the IoU with the boxes, or the confidence where there is no IoU."""
    return "iou_att_gt" if images["iou_att_gt"].notna().any() else "confidence"


def scatter(attention: Map) -> float:
    """How far a map's positive attention lies from its centre: the root of its mean square distance.

    Cells are taken as points of a unit square, so that evenly spread attention comes to about 0.41, and attention in
    one cell to 0. NaN where nothing is positive.

    Args:
        attention: Signed map, (h, w).
    """
    weights = np.clip(attention, 0, None)
    total = weights.sum()
    if not total > 0:
        return float("nan")
    rows, columns = ((np.arange(size) + 0.5) / size for size in attention.shape)
    places = np.stack(np.broadcast_arrays(rows[:, None], columns))  # (2, h, w)
    centre = (places * weights).sum((1, 2)) / total
    squares = ((places - centre[:, None, None]) ** 2).sum(0)
    return float(np.sqrt((squares * weights).sum() / total))


def scattered(image_ids: Sequence[str], maps: Sequence[Map], count: int) -> list[str]:
    """The images with the highest `scatter`, that first: the paper's first kind of failure (section 5.7)."""
    values = np.array([scatter(one) for one in maps])
    order = np.argsort(-values, kind="stable")  # NaN comes last
    return [image_ids[place] for place in order[:count] if not np.isnan(values[place])]


def misled(images: pd.DataFrame, count: int) -> list[str]:
    """The images with the lowest IoU among those whose label the model is sure of, that first.

    They stand for the paper's second kind of failure (section 5.7): the model relies on what is not the object.

    Args:
        images: I_att, each image once.
        count: How many at most.
    """
    sure = images[(images["confidence"] >= HIGH_CONFIDENCE) & images["iou_att_gt"].notna()]
    return [str(name) for name in sure.sort_values("iou_att_gt", kind="stable")["image_id"].iloc[:count]]
