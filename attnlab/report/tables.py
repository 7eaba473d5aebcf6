"""Tables 1-3 of the paper: records in, a tidy frame out, one row per cell of the paper's table.

The images are I_att: those the model classifies correctly and, in a data set that has boxes, whose label has one.
Nothing else is filtered. `n` is the number of images a cell's mean runs over; an image whose map is constant has no
area and drops out of the cells that need one.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from attnlab.boxes import iou_of_shared
from attnlab.errors import UserError
from attnlab.report.statistics import bootstrap_interval

GROUPS = ("succeed", "fail")
CELLS = (5, 10, 20, 30)
LOW_IOU = 0.5
#: the methods of the paper, and the class each explains
TARGETS_OF_THE_PAPER = {"grad-cam": "true", "lime": "predicted"}
NONE = float("nan")

#: one row of a table; the paper's numbers as in paper.json
Row = dict[str, Any]
Paper = dict[str, Any]


def table1(images: pd.DataFrame, budgets: Sequence[float], paper: Paper | None = None) -> pd.DataFrame:
    """Share of both groups and mean IoU between attention and ground truth (Table 1).

    Args:
        images: I_att, one row per image and eps (see `i_att`).
        budgets: The eps of the run; where there are several, the table gains a first column eps.
        paper: The published numbers, where the run is the paper's.

    Returns:
        Columns group, n, percent, iou_att_gt, ci_low, ci_high, paper_percent, paper_iou_att_gt.
    """
    return _shares(images, budgets, "iou_att_gt", paper and paper["table1"])


def table2(
    images: pd.DataFrame, budgets: Sequence[float], paper: Paper | None = None, below: float = LOW_IOU
) -> pd.DataFrame:
    """Share of both groups and mean confidence in the label, of the images with IoU < 0.5 (Table 2).

    Arguments as for `table1`; below: another IoU in place of 0.5.

    Returns:
        Columns group, n, percent, confidence, ci_low, ci_high, paper_percent, paper_confidence.
    """
    return _shares(images[images["iou_att_gt"] < below], budgets, "confidence", paper and paper["table2"])


def table3(
    images: pd.DataFrame, budgets: Sequence[float], paper: Paper | None = None, cells: Sequence[int] = CELLS
) -> pd.DataFrame:
    """Mean IoU of the k highest cells of the clean and the adversarial map (Table 3).

    Arguments as for `table1`; cells: every k.

    Returns:
        Columns cells, group, n, iou_ori_adv, ci_low, ci_high, paper.

    Raises:
        UserError: If a map has fewer than k cells.
    """
    with_area = images.dropna(subset="shared_cells")
    shared = np.array(with_area["shared_cells"].tolist(), dtype=int)  # (images, cells of a map)
    for k in cells:
        if len(shared) and not 1 <= k <= shared.shape[1]:
            raise UserError(f"expected cells from 1 to {shared.shape[1]}, the size of this model's maps, got {k}")
    values = {k: iou_of_shared(shared[:, k - 1], k) if len(shared) else np.empty(0) for k in cells}
    return by_size(with_area, budgets, "cells", "iou_ori_adv", values, paper and paper["table3"])


def by_size(
    images: pd.DataFrame,
    budgets: Sequence[float],
    size: str,
    column: str,
    values: Mapping[int, np.ndarray],
    paper: Paper | None,
) -> pd.DataFrame:
    """Mean of a value per size of area and group: the shape of Tables 3, 4 and 5.

    Args:
        images: One row per image and eps.
        budgets: The eps of the run.
        size: What the sizes count, `cells` or `features`.
        column: What the value is called.
        values: Of each size, a value per row of `images`; NaN where there is none.
        paper: The published table, where the run is the paper's.
    """
    rows: list[Row] = []
    for eps in budgets:
        for number, of_images in values.items():
            for group in GROUPS:
                mine = of_images[((images["eps"] == eps) & (images["group"] == group)).to_numpy()]
                theirs = dict(zip(paper[size], paper[group], strict=True)).get(number, NONE) if paper else NONE
                mean = _mean(mine[~np.isnan(mine)], column)
                rows.append({**_named(eps, budgets), size: number, "group": group, **mean, "paper": theirs})
    return pd.DataFrame(rows)


def i_att(records: pd.DataFrame, has_boxes: bool = True) -> pd.DataFrame:
    """The images the tables are about (section 3.1 of the paper), with the attack's outcome as `group`.

    Args:
        records: As `read_records` gives them, one row per image and eps.
        has_boxes: The data set has boxes; an image without a usable one is left out then.
    """
    correct = records["prediction"] == records["label"]
    usable = records["box_share"] > 0 if has_boxes else True
    images = records[correct & usable].copy()
    changed = images["adv_prediction"] != images["prediction"]
    images["group"] = np.where(changed, *GROUPS)
    return images


def published(manifest: Mapping[str, Any]) -> Paper | None:
    """The paper's numbers, if the run is the paper's: InceptionV3 on all of ImageNet's validation split, StepLL.

    Maps are of Mixed_7c and of the classes that the paper explains. Any eps and geometry will do: it names neither.
    """
    options = manifest["options"]
    attack = {"objective": "least-likely", "steps": 1, "label_smoothing": 0.0, "sigma": None}
    theirs = {"data": "imagenet", "split": "val", "model": "inception_v3", "weights": "default", "images": 50_000}
    same = all(options.get(key) == value for key, value in theirs.items())
    same &= all(options["attack"][key] == value for key, value in attack.items())
    same &= manifest["model"]["layer"] == "Mixed_7c"
    same &= all(TARGETS_OF_THE_PAPER.get(method) == target for method, target in options["target"].items())
    return numbers_of_the_paper() if same else None


def numbers_of_the_paper() -> Paper:
    """All published numbers."""
    numbers: Paper = json.loads(files("attnlab.report").joinpath("paper.json").read_text())
    return numbers


def _shares(images: pd.DataFrame, budgets: Sequence[float], column: str, paper: Paper | None) -> pd.DataFrame:
    """Per group: its share of the images, and the mean of a column over those that have a value."""
    rows: list[Row] = []
    for eps in budgets:
        of_eps = images[images["eps"] == eps]
        for group in GROUPS:
            values = of_eps.loc[of_eps["group"] == group, column].to_numpy(float)
            mean = _mean(values[~np.isnan(values)], column)
            theirs = paper[group] if paper else {}
            rows.append(
                {
                    **_named(eps, budgets),
                    "group": group,
                    "n": mean.pop("n"),
                    "percent": 100 * len(values) / len(of_eps) if len(of_eps) else NONE,
                    **mean,
                    "paper_percent": theirs.get("percent", NONE),
                    f"paper_{column}": theirs.get(column, NONE),
                }
            )
    return pd.DataFrame(rows)


def _named(eps: float, budgets: Sequence[float]) -> Row:
    """The column that names the eps where there are several."""
    return {"eps": eps} if len(budgets) > 1 else {}


def _mean(values: np.ndarray, column: str) -> Row:
    """Number, mean and interval; empty where there is no image."""
    low, high = bootstrap_interval(values)
    return {"n": len(values), column: values.mean() if len(values) else NONE, "ci_low": low, "ci_high": high}
