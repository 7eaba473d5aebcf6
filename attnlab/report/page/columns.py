"""Numbers of all images of a run, a column each, in memory and, as few bytes as may be, in a page."""

import base64
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attnlab.report.outcomes import GROUPS
from attnlab.report.page.images import MISCLASSIFIED, WITHOUT_BOX, Figure

OUTCOMES = (*GROUPS, MISCLASSIFIED, WITHOUT_BOX)  # what a code of a group's column stands for


class Columns:
    """What `numbers_of` gives of each image, in the order in which images are added."""

    def __init__(self, figures: Sequence[Figure], budgets: int) -> None:
        self.figures = list(figures)
        self.ids: list[str] = []
        self.labels = array("i")
        self.predictions = [array("i") for _ in range(1 + budgets)]  # of the clean images, then of each eps
        self.groups = [array("B") for _ in range(budgets)]  # index in OUTCOMES, for each eps
        self.values = {
            figure.key: [array("d") for _ in range(1 if figure.of == "clean" else budgets)] for figure in figures
        }  # of each figure a column, or one for each eps; NaN where an image has none

    def add(self, image: Mapping[str, Any]) -> None:
        """Add an image's numbers."""
        self.ids.append(image["id"])
        self.labels.append(image["label"])
        for column, prediction in zip(self.predictions, image["predictions"], strict=True):
            column.append(prediction)
        for codes, group in zip(self.groups, image["groups"], strict=True):
            codes.append(OUTCOMES.index(group))
        for key, columns in self.values.items():
            value = image["values"][key]
            for numbers, number in zip(columns, value if isinstance(value, list) else [value], strict=True):
                numbers.append(np.nan if number is None else number)

    def of(self, figure: Figure, index: int) -> np.ndarray:
        """A figure's values at one eps, NaN where an image has none, (n,)."""
        columns = self.values[figure.key]
        return np.asarray(columns[index if len(columns) > 1 else 0])

    def by_group(self, figure: Figure, index: int) -> dict[str, np.ndarray]:
        """A figure's values in both groups at one eps: group -> (n,)."""
        values, codes = self.of(figure, index), np.asarray(self.groups[index])
        return {group: values[codes == OUTCOMES.index(group)] for group in GROUPS}

    def counts(self, index: int) -> dict[str, int]:
        """Number of images of each of OUTCOMES at one eps."""
        return {group: self.groups[index].count(code) for code, group in enumerate(OUTCOMES)}

    def packed(self) -> dict[str, Any]:
        """All of it for a page's script."""
        return {
            "ids": self.ids,
            "labels": _packed(self.labels),
            "predictions": list(map(_packed, self.predictions)),
            "outcomes": OUTCOMES,
            "groups": list(map(_packed, self.groups)),
            "values": {key: list(map(_packed, columns)) for key, columns in self.values.items()},
        }


def _packed(values: Sequence[float]) -> dict[str, str]:
    """Numbers as base64 of little-endian bytes, none of them rounded: the smallest of three forms.

    `f4` or `f8` holds the numbers; `u1` or `u2` their indices in `table`, `f8` again.
    """
    numbers = np.asarray(values, np.float64)
    table, codes = np.unique(numbers, return_inverse=True)  # all NaN are one
    short = numbers.astype(np.float32)
    plain = "f4" if np.array_equal(short, numbers, equal_nan=True) else "f8"
    kind = "u1" if len(table) <= 1 << 8 else "u2"
    if len(table) <= 1 << 16 and 8 * len(table) + int(kind[1]) * len(numbers) < int(plain[1]) * len(numbers):
        return {kind: _text(codes, kind), "table": _text(table, "f8")}
    return {plain: _text(numbers, plain)}


def _text(numbers: np.ndarray, kind: str) -> str:
    return base64.b64encode(numbers.astype(f"<{kind}").tobytes()).decode()
