"""Tables 1-3 of the paper: records in, a tidy frame out, one row per cell of the paper's table.

The images are I_att: those the model classifies correctly and, in a data set that has boxes, whose label has one.
Nothing else is filtered. `n` is the number of images a cell's mean runs over; an image whose map is constant has no
area and drops out of the cells that need one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from attnlab.boxes import iou_of_shared
from attnlab.errors import UserError
from attnlab.records import at_eps
from attnlab.report.outcomes import GROUPS
from attnlab.report.statistics import mean_interval
from attnlab.report.tables import CELL, CELLS, FEATURE, LOW_IOU, NONE, TABLES, Paper
from attnlab.report.tables.published import MAPS_OF_THE_PAPER


def table1(
    images: pd.DataFrame, budgets: Sequence[float], paper: Paper | None = None, methods: Sequence[str] = ()
) -> pd.DataFrame:
    """Share of both groups and mean IoU between attention and ground truth (Table 1).

    Args:
        images: I_att, one row per image, method that maps, and eps (see `i_att`).
        budgets: The eps of the run; where there are several, the table gains a first column eps.
        paper: The published numbers, where the run is the paper's; they stand beside its own method.
        methods: Those that map; where there are several, the images have a column method, and the table gains one.
    """
    return by_outcome("table1", images, budgets, paper, methods)


def table2(
    images: pd.DataFrame,
    budgets: Sequence[float],
    paper: Paper | None = None,
    below: float = LOW_IOU,
    methods: Sequence[str] = (),
) -> pd.DataFrame:
    """Share of both groups and mean confidence in the label, of the images with IoU < 0.5 (Table 2).

    Arguments as for `table1`; below: another IoU in place of 0.5.
    """
    return by_outcome("table2", images[images["iou_att_gt"] < below], budgets, paper, methods)


def table3(
    images: pd.DataFrame,
    budgets: Sequence[float],
    paper: Paper | None = None,
    cells: Sequence[int] = CELLS,
    methods: Sequence[str] = (),
) -> pd.DataFrame:
    """Mean IoU of the k highest cells of the clean and the adversarial map (Table 3).

    Arguments as for `table1`; cells: every k.
    """
    return by_size("table3", measured(images, "shared_cells", cell_ious, cells), budgets, cells, paper, methods)


def cell_ious(images: pd.DataFrame, cells: Sequence[int] = CELLS) -> pd.DataFrame:
    """IoU of the k highest cells of the clean and the adversarial map, a column for each k; NaN for a constant map."""
    with_area = images["shared_cells"].dropna()
    shared = np.array(with_area.tolist(), dtype=int)  # (images, cells of a map)
    for k in cells:
        if len(shared) and not 1 <= k <= shared.shape[1]:
            raise UserError(f"expected cells from 1 to {shared.shape[1]}, the size of this model's maps, got {k}")
    values = {f"table3_{k}": iou_of_shared(shared[:, k - 1], k) if len(shared) else [] for k in cells}
    return pd.DataFrame(values, with_area.index, dtype=float).reindex(images.index)


def measured(images: pd.DataFrame, column: str, measure: Callable[..., pd.DataFrame], *arguments: Any) -> pd.DataFrame:
    """Images with what a table's means are of: as they are if it was measured as they were read, else from a column."""
    if column not in images:
        return images
    images = images.reset_index(drop=True)
    return pd.concat([images, measure(images, *arguments)], axis=1)


def by_outcome(
    name: str,
    images: pd.DataFrame,
    budgets: Sequence[float],
    paper: Paper | None = None,
    methods: Sequence[str] = (),
) -> pd.DataFrame:
    """Per group its share of the images, and the mean of a column over those that have a value: Tables 1 and 2.

    The column is that of the table's mean; arguments as for `table1`.
    """
    spec = TABLES[name]
    rows = []
    for eps, method, of_both in each_method(images, budgets, methods):
        published = _published(paper, name, method)
        for group in GROUPS:
            values = of_both.loc[of_both["group"] == group, spec.mean.name].to_numpy(float)
            percent = 100 * len(values) / len(of_both) if len(of_both) else NONE
            n, *mean = mean_interval(values)
            paper_values = [published.get(group, {}).get(column, NONE) for column in ("percent", spec.mean.name)]
            rows.append((eps, method, group, n, percent, *mean, *paper_values))
    return spec.tidy(rows)


def by_size(
    name: str,
    images: pd.DataFrame,
    budgets: Sequence[float],
    sizes: Sequence[int],
    paper: Paper | None,
    methods: Sequence[str] = (),
) -> pd.DataFrame:
    """Mean of a value per size of area and group: Tables 3, 4 and 5.

    The values of each size are a column `NAME_SIZE` of the images, NaN where there is none; other arguments as for
    `table1`.
    """
    spec, size_column = TABLES[name], CELL.name if name == "table3" else FEATURE.name
    rows = []
    for eps, method, of_both in each_method(images, budgets, methods):
        published = _published(paper, name, method)
        for size in sizes:
            for group in GROUPS:
                mean = mean_interval(of_both.loc[of_both["group"] == group, f"{name}_{size}"])
                values = dict(zip(published[size_column], published[group], strict=True)) if published else {}
                rows.append((eps, method, size, group, *mean, values.get(size, NONE)))
    return spec.tidy(rows)


def each_method(
    images: pd.DataFrame, budgets: Sequence[float], methods: Sequence[str] = ()
) -> Iterator[tuple[float, str, pd.DataFrame]]:
    """Each eps with each method, and the images' rows of both; all rows are of the method where there is but one."""
    several = len(methods) > 1 and "method" in images
    for eps in budgets:
        of_eps = at_eps(images, eps)
        for method in methods or [""]:
            yield eps, method, of_eps[of_eps["method"] == method] if several else of_eps


def _published(paper: Paper | None, name: str, method: str) -> Mapping[str, Any]:
    """The paper's numbers of a table, which are of its own method."""
    found: Mapping[str, Any] = (paper or {}).get(name, {}) if method in ("", MAPS_OF_THE_PAPER) else {}
    return found


def i_att(records: pd.DataFrame, has_boxes: bool = True) -> pd.DataFrame:
    """The images the tables are about (section 3.1 of the paper), with the attack's outcome as `group`.

    Of records as `read_records` gives them; where the data have boxes, an image without a usable one is left out.
    """
    correct = records["prediction"] == records["label"]
    usable = records["box_share"] > 0 if has_boxes else True
    images = records[correct & usable]
    targeted = "target" in images
    succeed = (
        images["adv_prediction"] == images["target"] if targeted else images["adv_prediction"] != images["prediction"]
    )
    return images.assign(group=np.where(succeed, *GROUPS))
