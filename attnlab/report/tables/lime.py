"""Tables 4 and 5 of the paper: areas of LIME explanations, from the superpixels and weights in the records."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from attnlab.boxes import frame_of, matched_box, rasterise
from attnlab.boxes import ground_truth as boxes_or_mask
from attnlab.errors import UserError
from attnlab.kept_maps import segments_of
from attnlab.report.tables import FEATURES, Paper
from attnlab.report.tables.iou import by_size, measured
from attnlab.superpixels import Mask, area

LIME_TABLES = ("table4", "table4_adversarial", "table5", "noise_floor")  # the tables made here
EXPLANATIONS = ("lime", "adv_lime", "lime_again")  # columns of the records that hold explanations
#: ground truth of the area, and how a caption says it
GROUND_TRUTHS = {"matched": "{frame} scaled to the area's size", "box": "plain {truth}"}

Size = tuple[int, int]
Struct = Mapping[str, Any]


def lime_tables(
    images: pd.DataFrame,
    budgets: Sequence[float],
    size: Size,
    paper: Paper | None = None,
    features: Sequence[int] = FEATURES,
    ground_truth: str = "matched",
) -> dict[str, pd.DataFrame]:
    """Tables 4 and 5, and what stands beside them, of I_att with LIME explanations; other arguments as of `table1`.

    `size` is the images' height and width; an area is made of the strongest superpixels, of each number in `features`;
    `ground_truth` is a name in GROUND_TRUTHS.

    Returns:
        table4: IoU of the clean image's area with the ground truth; table4_adversarial: of the adversarial image's;
        table5: IoU of both areas; noise_floor: IoU of the clean image's areas from two seeds. An image whose areas are
        both empty has no IoU and is left out of n: none of its strongest superpixels speaks for the class.
    """
    images = measured(images, "lime", measure_explanations, size, features, ground_truth)
    return {name: by_size(name, images, budgets, features, paper) for name in LIME_TABLES}


def measure_explanations(
    images: pd.DataFrame, size: Size, features: Sequence[int] = FEATURES, ground_truth: str = "matched"
) -> pd.DataFrame:
    """Number of samples of each clean image's explanation, and the IoUs that Tables 4 and 5 average; NaN without one.

    Columns: samples, then TABLE_FEATURES; arguments as of `lime_tables`.
    """
    if min(features) < 1:
        raise UserError(f"expected numbers of features from 1 on, got {list(features)}")
    explained = images.reindex(columns=["boxes", "mask", *EXPLANATIONS]).dropna(subset="lime")
    rows = []
    for image in explained.to_dict("records"):
        ious = lime_ious(image, size, features, ground_truth)
        rows.append([image["lime"]["samples"], *(ious[name][count] for name in LIME_TABLES for count in features)])
    columns = ["samples", *(f"{name}_{count}" for name in LIME_TABLES for count in features)]
    return pd.DataFrame(rows, explained.index, columns, dtype=float).reindex(images.index)


def lime_ious(
    image: Mapping[Any, Any], size: Size, features: Sequence[int] = FEATURES, ground_truth: str = "matched"
) -> dict[str, dict[int, float]]:
    """IoUs of one image at one eps that Tables 4 and 5 average: table -> number of features -> IoU.

    The image has boxes, perhaps a mask, and explanations by the names in EXPLANATIONS, of which some may be None: their
    IoU is NaN.
    """
    segments = {name: None if image[name] is None else segments_of(image[name], size) for name in EXPLANATIONS}
    ious: dict[str, dict[int, float]] = {name: {} for name in LIME_TABLES}
    for count in features:
        clean, attacked, again = (
            None if labels is None else area(np.asarray(image[name]["weights"]), labels, count)
            for name, labels in segments.items()
        )
        ious["table4"][count] = _iou(clean, _truth(image, clean, ground_truth))
        ious["table4_adversarial"][count] = _iou(attacked, _truth(image, attacked, ground_truth))
        ious["table5"][count] = _iou(clean, attacked)
        ious["noise_floor"][count] = _iou(clean, again)
    return ious


def _truth(image: Mapping[Any, Any], mask: Mask | None, rule: str) -> Mask | None:
    """The ground truth; for `matched` the common frame of the boxes or the mask, scaled to the size of an area."""
    if mask is None:
        return None
    truth = boxes_or_mask(image, *mask.shape)
    masked = isinstance(image.get("mask"), bytes)
    boxes = frame_of(truth) if masked else [np.asarray(box, float).tolist() for box in image["boxes"]]
    if not boxes or rule != "matched":
        return truth if boxes else None
    return rasterise(matched_box(np.array(boxes), float(mask.sum())), *mask.shape)


def _iou(first: Mask | None, second: Mask | None) -> float:
    """NaN where an area is missing or both are empty."""
    if first is None or second is None or not (first | second).any():
        return float("nan")
    return float((first & second).sum() / (first | second).sum())
