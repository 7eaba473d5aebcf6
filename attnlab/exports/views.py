"""What formats say of an image, from its record: names of classes, ground truth, clean and attacked views."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attnlab.boxes import frame_of, unpack
from attnlab.report.description import outcomes_of
from attnlab.report.figures.analysis import boxes_of, shown_map
from attnlab.report.figures.panels import class_name
from attnlab.report.outcomes import GROUPS
from attnlab.report.page.images import group_of
from attnlab.views import Map
from attnlab.words import as_fraction

Record = Mapping[str, Any]
Box = tuple[float, float, float, float]

CLEAN = "clean"  # name of the view that nothing was done to


class ClassNames:
    """Names of classes by their index, each another one: programs that know names alone would take two for one."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes

    @cached_property
    def _twice(self) -> set[str]:
        counts = Counter(class_name(number, self.classes) for number in range(len(self.classes)))
        return {name for name, count in counts.items() if count > 1}

    def __getitem__(self, number: int) -> str:
        """The name up to its first comma, with the index behind it where several classes are called so."""
        name = class_name(number, self.classes)
        return f"{name} ({number})" if name in self._twice else name


def has_labels(manifest: Mapping[str, Any]) -> bool:
    """Whether labels in the records are the data's, and not the model's predictions in their place."""
    return bool(manifest["data"].get("labels") != "predicted")


class View(NamedTuple):
    """An image as the model saw it, or its counterpart under the attack of one eps, or under a corruption."""

    name: str  # `clean`, the eps, or the corruption
    eps: float | None  # None: the clean image, and a corrupted one
    prediction: int
    label_confidence: float  # softmax probability of the label
    iou: float | None  # of the map's area with the ground truth
    group: str  # outcome of the attack, or why the tables leave the image out; of a clean image the latter, or empty
    map: Map | None

    @property
    def clean(self) -> bool:
        """Whether the image is as the data has it."""
        return self.name == CLEAN


def views_of(record: Record, manifest: Mapping[str, Any]) -> list[View]:
    """The clean image, then that of each eps or the corrupted one, from an image's row of the records."""
    has_boxes, outcomes, options = manifest["data"]["has_boxes"], outcomes_of(manifest), manifest["options"]
    names = [CLEAN, *(options["attack_name"] if eps is None else f"eps {as_fraction(eps)}" for eps in options["eps"])]
    views = []
    for name, eps, row in zip(names, [None, *options["eps"]], [record, *record["adversarial"]], strict=True):
        attention = None if row["map"] is None else shown_map(row, manifest)
        group = group_of(record, row, has_boxes)
        group = "" if name == CLEAN and group in GROUPS else outcomes.name(group)
        views.append(View(name, eps, row["prediction"], row["confidence"], row["iou_att_gt"], group, attention))
    return views


class Truth(NamedTuple):
    """One object of an image's ground truth."""

    box: Box  # half-open pixels x0, y0, x1, y1
    mask: npt.NDArray[np.bool_] | None = None  # (H, W)


def truth_of(record: Record, size: Sequence[int]) -> list[Truth]:
    """The ground truth of an image at the model's size: its mask in the frame around it, else its boxes."""
    if not record.get("mask"):
        return [Truth((x0, y0, x1, y1)) for x0, y0, x1, y1 in boxes_of(record).tolist()]
    mask = unpack(record["mask"], *size)
    return [Truth((x0, y0, x1, y1), mask) for x0, y0, x1, y1 in frame_of(mask)]
