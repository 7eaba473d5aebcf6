"""Images, predictions and maps as plain arrays, for figures. Knows no torch."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]
"""Of an image in [0, 1], (H, W, C)."""
Map = npt.NDArray[np.floating[Any]]
"""Signed attention, (h, w)."""


class MapView(NamedTuple):
    """An image, a map of it and the prediction."""

    pixels: Pixels
    map: Map
    prediction: int
    confidence: float  # softmax probability of the label
    top: float = float("nan")  # softmax probability of the prediction; NaN where it is not known
    iou: float = float("nan")  # of the map's area with the ground truth; NaN where it is not known


class ReplayedImage(NamedTuple):
    """One image of an analysis, read and attacked again."""

    record: Mapping[str, Any]  # its row of the records, as in `attnlab.schema.ATTENTION`
    clean: Pixels  # at the model's size
    adversarial: Sequence[Pixels]  # the attacked image of each eps of the run


class MapSeries(NamedTuple):
    """Views of one image and of its adversarial counterparts: by several models, or at several moments."""

    image_id: str
    label: int
    boxes: npt.NDArray[np.float64]  # half-open pixels, (B, 4)
    clean: Sequence[MapView]
    adversarial: Sequence[MapView]
    mask: npt.NDArray[np.bool_] | None = None  # ground truth in place of the boxes, (H, W)


class Examples(NamedTuple):
    """The images of one figure, and what its caption says of them, in words."""

    groups: Sequence[tuple[str, Sequence[MapSeries]]]  # each with its title; the same title may stand twice
    classes: Sequence[str] = ()  # their names
    columns: Sequence[str] = ()  # what each view of a series is called, such as models or epochs
    subject: str = ""  # what the maps are of, such as the method or the defence
    setting: str = ""  # data, attack and budget
    rule: str = ""  # how the images were chosen


class LeftOut(Exception):  # noqa: N818 - a fact about one figure, not a failure
    """A figure that cannot be made of what there is; its text says why."""


def visible(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What of an image's channels is shown, (H, W, 1 or 3): of more than three the first three, of two the first."""
    return pixels[..., : 3 if pixels.shape[2] > 2 else 1]


def shown_channels(channels: int) -> str:
    """Which of so many channels are shown, in words; empty where all are."""
    shown = {1: "", 2: "the first of 2 channels, as grey", 3: ""}
    text = shown.get(channels, f"the first three of {channels} channels, as red, green and blue")
    return text and f"Images show {text}"


def quantile_examples(values: Sequence[float] | npt.NDArray[Any], count: int) -> list[int]:
    """Indices of `count` typical values, by rising value: ranked, the middle one of each of `count` equal parts.

    It is how figures choose their images, and not by hand. Of an even number the lower middle is taken, equal
    values rank in their order, NaN are left out, and of fewer values than `count` all are taken.
    """
    numbers = np.asarray(values, np.float64)
    ranked = [int(index) for index in np.argsort(numbers, kind="stable") if not np.isnan(numbers[index])]
    if count >= len(ranked):
        return ranked
    return [ranked[int(np.ceil((2 * part + 1) * len(ranked) / (2 * count))) - 1] for part in range(count)]
