"""IoU that the size of the boxes alone would give: baselines of Table 1.

A larger area overlaps more by chance, objects lie in the middle of photographs, and an attack may fail on images whose
object is large. So beside attention stands a frame in the middle of the image, as large as the boxes, which looks at
nothing, and what a random area of that size would score.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from attnlab.boxes import ground_truth, iou_of_shared
from attnlab.report.outcomes import GROUPS
from attnlab.report.statistics import bootstrap_difference
from attnlab.report.tables import NONE, TABLES
from attnlab.report.tables.iou import each_method, measured

MEASURES = ("attention", "centred frame", "random area", "attention less centred frame")


def controls(
    images: pd.DataFrame, budgets: Sequence[float], size: tuple[int, int], methods: Sequence[str] = ()
) -> pd.DataFrame:
    """Mean IoU with the ground truth of attention and of areas of the same size that look at nothing, by group.

    Of I_att, one row per image, method and eps, those whose map is constant left out, to a row per eps, method and name
    in MEASURES; `difference` is fail less succeed, the interval (95 % bootstrap) its. `size` is the images' height and
    width, `methods` as of `table1`.
    """
    images = measured(images, "boxes", blind_areas, size).dropna(subset="iou_att_gt")
    rows = []
    for eps, method, of_both in each_method(images, budgets, methods):
        attention, centred, chance = (of_both[name] for name in ("iou_att_gt", "centred", "chance"))
        values = dict(zip(MEASURES, (attention, centred, chance, attention - centred), strict=True))
        for measure, value in values.items():
            succeed, fail = (value[of_both["group"] == group].to_numpy(float) for group in GROUPS)
            means = [sample.mean() if len(sample) else NONE for sample in (succeed, fail)]
            interval = bootstrap_difference(fail, succeed)
            counts = (len(succeed), means[0], len(fail), means[1])
            rows.append((eps, method, measure, *counts, means[1] - means[0], *interval))
    return TABLES["controls"].tidy(rows)


def blind_areas(images: pd.DataFrame, size: tuple[int, int]) -> pd.DataFrame:
    """IoU of the ground truth with a frame as large in the middle, `centred`, and with random areas, `chance`."""
    known = images.dropna(subset="iou_att_gt")
    once = known.drop_duplicates("image_id")
    outwards = from_the_centre(size)
    records = once.reindex(columns=["boxes", "mask"]).to_dict("records")
    pairs = [blind_ious(ground_truth(record, *size), outwards) for record in records]
    blind = pd.DataFrame(pairs, index=once["image_id"], columns=["centred", "chance"], dtype=float)
    return blind.reindex(known["image_id"]).set_index(known.index).reindex(images.index)


def from_the_centre(size: tuple[int, int]) -> np.ndarray:
    """Pixels in the order in which a frame of the image's shape, growing from its centre, reaches them: (H * W,)."""
    height, width = size
    down = np.abs(2 * np.arange(height) + 1 - height) / height
    across = np.abs(2 * np.arange(width) + 1 - width) / width
    return np.maximum(down[:, None], across).ravel().argsort(kind="stable")


def blind_ious(mask: np.ndarray, outwards: np.ndarray) -> tuple[float, float]:
    """IoU with a mask of the centred frame of its size, and of two random areas of its size: s / (2 - s), s its share.

    The mask is the ground truth, (H, W), bool, not empty; `outwards` comes from `from_the_centre`.
    """
    count = int(mask.sum())
    shared = int(mask.ravel()[outwards[:count]].sum())
    share = count / mask.size
    return float(iou_of_shared(shared, count)), share / (2 - share)
