"""Choose the images that figures of an analysis show, by rules and not by hand."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from attnlab.report.description import outcomes_of
from attnlab.report.figures.analysis import Analysis, Choice, map_of
from attnlab.report.outcomes import GROUPS
from attnlab.views import LeftOut, Map, quantile_examples

#: confidence in the label from which a model counts as sure
HIGH_CONFIDENCE = 0.9
RULE = {
    "iou_att_gt": "of each group the one whose IoU with the ground truth is the group's median",
    "confidence": "of each group the one whose confidence in the label is the group's median",
}


def medians(analysis: Analysis, eps: float, _count: int, *, lime: bool = False) -> Choice:
    """Images of Figs. 1 and 3: those that are named, or of each group the typical one."""
    method = "lime" if lime else analysis.method
    images = analysis.images(method, eps)
    if analysis.named:
        records = analysis.records
        without = set(records.loc[~records["has_lime" if lime else "has_map"], "image_id"]) & set(analysis.named)
        if without:
            raise LeftOut(f"there is no map of {method} of image {min(without)}")
        group_of = images.set_index("image_id")["group"]
        groups, rule = [(group_of.get(name, "misclassified"), [name]) for name in analysis.named], "as named"
    else:
        groups, rule = list(typical(images).items()), RULE[measured_by(images)]
    outcomes = outcomes_of(analysis.manifest)
    groups = [(outcomes.word(group), names) for group, names in groups]
    subject = f"Maps of {method}"
    if lime:
        count = int(analysis.manifest["features"][0])
        subject = f"LIME, those of the {count} strongest superpixels that speak for the class"
    return Choice(groups, method, analysis.manifest["options"]["eps"].index(eps), subject, f"Images: {rule}")


def failures(analysis: Analysis, _eps: float | None, count: int) -> Choice:
    """Images of Fig. 13: the most scattered maps, and the lowest IoUs of images whose label the model is sure of."""
    images = analysis.images().drop_duplicates("image_id")
    groups = [
        ("(a) scattered", scattered(images, count)),
        ("(b) misled", misled(images, count)),
    ]
    if not any(names for _, names in groups):
        raise LeftOut("no map has any positive attention, and no confident prediction a box")
    rule = (
        "(a) The highest scatter of the map (root mean square distance of the positive attention from its centre) and "
        f"(b) the lowest IoU with the ground truth at a confidence of at least {HIGH_CONFIDENCE}, among {len(images)} "
        "correctly classified images"
    )
    return Choice(groups, analysis.method, None, "", rule)


def typical(images: pd.DataFrame) -> dict[str, list[str]]:
    """Of each group of I_att at one eps the image whose IoU with the ground truth is the group's median, if it has any.

    Where there is no IoU, the confidence in the label stands in; of an even number of images the lower middle is taken.
    """
    measure = measured_by(images)
    of_groups = {group: images[images["group"] == group] for group in GROUPS}
    return {
        group: [str(rows["image_id"].iloc[row]) for row in quantile_examples(rows[measure].to_numpy(), 1)]
        for group, rows in of_groups.items()
    }


def measured_by(images: pd.DataFrame) -> str:
    """Column that images are ranked by: the IoU with the ground truth, or the confidence where there is no IoU."""
    return "iou_att_gt" if images["iou_att_gt"].notna().any() else "confidence"


def scatter(attention: Map) -> float:
    """How far a map's positive attention lies from its centre: the root of its mean square distance.

    Cells are points of a unit square, so that evenly spread attention has about 0.41, and attention in one cell to
    0. NaN where nothing is positive.
    """
    weights = np.clip(attention, 0, None)
    total = weights.sum()
    if not total > 0:
        return float("nan")
    rows, columns = ((np.arange(size) + 0.5) / size for size in attention.shape)
    points = np.stack(np.broadcast_arrays(rows[:, None], columns))  # (2, h, w)
    centre = (points * weights).sum((1, 2)) / total
    squares = ((points - centre[:, None, None]) ** 2).sum(0)
    return float(np.sqrt((squares * weights).sum() / total))


def scatters(images: pd.DataFrame, shape: Sequence[int]) -> pd.DataFrame:
    """Column scatter: that of the map of each image, whose maps have a shape; NaN without a map."""
    values = [np.nan if values is None else scatter(map_of(values, shape)) for values in images["map"]]
    return pd.DataFrame({"scatter": values}, images.index, dtype=float)


def scattered(images: pd.DataFrame, count: int) -> list[str]:
    """The images with the highest `scatter`, that first: the paper's first kind of failure (section 5.7)."""
    known = images.dropna(subset="scatter")
    order = np.argsort(-known["scatter"].to_numpy(), kind="stable")
    return [str(name) for name in known["image_id"].iloc[order[:count]]]


def misled(images: pd.DataFrame, count: int) -> list[str]:
    """The images with the lowest IoU among those whose label the model is sure of, that first, each image once.

    They stand for the paper's second kind of failure (section 5.7): the model relies on what is not the object.
    """
    sure = images[(images["confidence"] >= HIGH_CONFIDENCE) & images["iou_att_gt"].notna()]
    return [str(name) for name in sure.sort_values("iou_att_gt", kind="stable")["image_id"].iloc[:count]]


#: ways to choose images: from an analysis, one of its eps and how many images to a Choice, or LeftOut
CHOICES: dict[str, Callable[[Analysis, Any, int], Choice]] = {
    "medians": medians,
    "medians of LIME": partial(medians, lime=True),
    "failures": failures,
}
