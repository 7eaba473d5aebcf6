"""Measures of a batch's maps as records hold them: for each image a list of numbers for each measure."""

from collections.abc import Sequence
from typing import Any

from attnlab.arrays import Maps
from attnlab.attention.map_metrics import resize_maps
from attnlab.measures import MEASURES, of_one, of_two

Numbers = list[list[list[float]]]  # of each image, of each measure


def own_measures(names: Sequence[str], maps: Maps, size: tuple[int, int], **given: Any) -> Numbers | None:
    """Numbers of the measures of one map among `names`, in their order; None without any.

    The maps are signed and of any resolution; they are measured at `size`, the images' height and width. `given` is
    what else measures ask for, see `Measure.compute`.
    """
    return _lists(of_one(names), {"maps": resize_maps(maps, size), **given}, len(maps))


def pair_measures(names: Sequence[str], first: Maps, second: Maps) -> Numbers | None:
    """Numbers of the measures of two maps among `names`, in their order; None without any. Both are over one grid."""
    return _lists(of_two(names), {"first": first, "second": second}, len(first))


def _lists(names: Sequence[str], given: dict[str, Any], count: int) -> Numbers | None:
    if not names:
        return None
    columns = [MEASURES[name](**given).tolist() for name in names]
    return [[column[number] for column in columns] for number in range(count)]
