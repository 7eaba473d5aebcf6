"""Measures of a batch's maps as records hold them: for each image a list of numbers for each measure."""

import math
from collections.abc import Sequence
from inspect import signature
from typing import Any

from attnlab.arrays import Maps
from attnlab.attention.map_metrics import resize_maps
from attnlab.measures import MEASURES, Measure
from attnlab.registry import loaded

Numbers = list[list[list[float]]]  # of each image, of each measure


def own_measures(names: Sequence[str], maps: Maps, size: tuple[int, int], **given: Any) -> Numbers | None:
    """Numbers of measures of one map, in the order of their names; None without any.

    The maps are signed and of any resolution; they are measured at `size`, the images' height and width. `given` is
    what else measures ask for, see `Measure.compute`.
    """
    return _lists(names, {"maps": resize_maps(maps, size), **given}, len(maps))


def pair_measures(names: Sequence[str], first: Maps, second: Maps) -> Numbers | None:
    """Numbers of measures of two maps, in the order of their names; None without any. Both are over one grid."""
    return _lists(names, {"first": first, "second": second}, len(first))


def _values(measure: Measure, given: dict[str, Any], count: int) -> list[list[float]]:
    """Numbers of each image; NaN where nobody gives `explain`, as of LIME, whose maps of more images take too long."""
    if "explain" in signature(loaded(measure.compute)).parameters and "explain" not in given:
        return [[math.nan] * measure.values] * count
    values: list[list[float]] = measure(**given).tolist()
    return values


def _lists(names: Sequence[str], given: dict[str, Any], count: int) -> Numbers | None:
    if not names:
        return None
    columns = [_values(MEASURES[name], given, count) for name in names]
    return [[column[number] for column in columns] for number in range(count)]
