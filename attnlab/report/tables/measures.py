"""Measures of maps: means over the images of each outcome of the attack, on clean and on attacked images, and of pairs.

An image without a value, such as one whose map is constant, drops out of n.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from attnlab.boxes import ground_truth
from attnlab.measures import MEASURES, Measure, of_one, of_two
from attnlab.measures.recorded import COLUMNS, measured_methods, parts_of_measures
from attnlab.registry import loaded
from attnlab.report.outcomes import GROUPS
from attnlab.report.statistics import bootstrap_total, mean_interval
from attnlab.report.tables import NONE, TABLES
from attnlab.report.tables.iou import i_att
from attnlab.runs import Run

Array = np.ndarray[Any, np.dtype[np.float64]]
#: method -> its records with COLUMNS in the order of the names, part by part, as `parts_of_measures` gives them
Frames = Callable[[str], Iterable[pd.DataFrame]]


def measures(
    run: Run,
    budgets: Sequence[float],
    size: tuple[int, int],
    shape: tuple[int, int],
    measured: Sequence[str],
    frames: Frames | None = None,
) -> pd.DataFrame:
    """Mean of each measure of I_att by eps, method and outcome of the attack, with its chance level.

    A method's records are in memory as long as its rows are made.

    Args:
        run: Of `analyze`.
        budgets: Every eps.
        size: Height and width of the images in pixels.
        shape: Height and width of the maps in cells.
        measured: Names of the measures, as records have them.
        frames: Records that have them; by default the run's.
    """
    manifest, frames = run.manifest, frames or partial(parts_of_measures, run)
    levels: dict[str, dict[str, float]] = {}  # of an image
    rows = []
    for method in measured_methods(manifest):
        images = _Images(measured, shape)
        for frame in frames(method):
            images.add(i_att(frame, manifest["data"]["has_boxes"]), size, levels)
        rows += [row for eps in budgets for row in images.rows(eps, method)]
    rows.sort(key=lambda row: budgets.index(row[0]))
    return TABLES["measures"].tidy(rows)


class _Images:
    """Numbers of a method's images, part by part."""

    def __init__(self, names: Sequence[str], shape: tuple[int, int]) -> None:
        own, pair = of_one(names), of_two(names)
        self.places = {"clean": own, "attacked": own, "pair": pair}
        self.cells = shape[0] * shape[1]
        self.eps: list[Array] = []
        self.group: list[Any] = []
        self.values: dict[tuple[str, str], list[Array]] = {}
        self.chance: dict[str, list[Array]] = {name: [] for name in own if callable(MEASURES[name].chance)}

    def add(self, images: pd.DataFrame, size: tuple[int, int], levels: dict[str, dict[str, float]]) -> None:
        """Take the images of a part; chance levels of those that are known stand in `levels`, and others join them."""
        self.eps.append(images["eps"].to_numpy(float))
        self.group.append(images["group"].to_numpy())
        for kind, names in self.places.items():
            for number, name in enumerate(names):
                some = _numbers(images[COLUMNS[kind]], number, MEASURES[name].values)
                self.values.setdefault((kind, name), []).append(some)
        if not self.chance:
            return
        once = images.drop_duplicates("image_id").reindex(columns=["image_id", "boxes", "mask"])
        for record in once[~once["image_id"].isin(levels)].to_dict("records"):
            mask = ground_truth(record, *size)
            levels[record["image_id"]] = {name: loaded(MEASURES[name].chance)(mask) for name in self.chance}
        for name, values in self.chance.items():
            values.append(np.array([levels[image_id][name] for image_id in images["image_id"]], float))

    def rows(self, eps: float, method: str) -> Iterator[tuple[Any, ...]]:
        """Rows of the table at an eps, measure by measure."""
        budgets, groups = (np.concatenate(some) if some else np.array([]) for some in (self.eps, self.group))
        chance = {name: np.concatenate(some) for name, some in self.chance.items() if some}
        order = {name: number for number, name in enumerate(MEASURES)}
        for kind, name in sorted(self.values, key=lambda one: order[one[1]]):
            values = np.concatenate(self.values[kind, name])
            for group in GROUPS:
                chosen = (np.isnan(budgets) if eps is None else budgets == eps) & (groups == group)
                n, *mean = mean_of(MEASURES[name], values[chosen])
                level = self._level(name, chance, chosen & ~np.isnan(values[:, 0])) if n else NONE
                yield eps, method, name, kind, group, n, *mean, level

    def _level(self, name: str, chance: Mapping[str, Array], chosen: np.ndarray) -> float:
        level = MEASURES[name].chance
        if not callable(level):
            return NONE if level is None else level
        return float(chance[name][chosen].mean()) if name in chance else float(loaded(level)(self.cells))


def _numbers(column: pd.Series, number: int, count: int) -> Array:
    """The numbers of a measure in each row, (rows, count); NaN where there are none."""
    empty = np.full(count, np.nan)
    lists = [one[number] if isinstance(one, list | np.ndarray) else empty for one in column]
    return np.array(lists, float).reshape(len(lists), count)


def mean_of(measure: Measure, values: Array) -> tuple[int, float, float, float]:
    """Number of images that have a value, the mean or what stands for it, and its 95 % bootstrap interval."""
    if measure.total is None:
        return mean_interval(values[:, 0])
    known = values[~np.isnan(values).any(1)]
    return len(known), *bootstrap_total(loaded(measure.total), known)
