"""What is seen when a classifier looks at an image: plain arrays, for figures. Knows no torch."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]
Map = npt.NDArray[np.floating[Any]]


class MapView(NamedTuple):
    """An image, a map of it and the prediction.

    Attributes:
        pixels: In [0, 1], (H, W, C), C being 1 or 3.
        map: Signed attention, (h, w).
        prediction: Class index.
        confidence: Softmax probability of the label.
        top: Softmax probability of the prediction; NaN where it is not known.
        iou: Of the map's area with the boxes; NaN where it is not known.
    """

    pixels: Pixels
    map: Map
    prediction: int
    confidence: float
    top: float = float("nan")
    iou: float = float("nan")


class ReplayedImage(NamedTuple):
    """One image of an analysis, read and attacked again.

    Attributes:
        record: Its row of the records, as in `attnlab.records.ATTENTION`.
        clean: Pixels in [0, 1] at the model's size, (H, W, C), C being 1 or 3.
        adversarial: The attacked image of each eps of the run, likewise.
    """

    record: Mapping[str, Any]
    clean: Pixels
    adversarial: Sequence[Pixels]


class MapSeries(NamedTuple):
    """Views of one image and of its adversarial counterparts: by several models, or at several moments.

    Attributes:
        image_id: Name of the image.
        label: Class index.
        boxes: Half-open pixels, (B, 4).
        clean: Views of the image itself.
        adversarial: Views of its adversarial counterparts.
    """

    image_id: str
    label: int
    boxes: npt.NDArray[np.float64]
    clean: Sequence[MapView]
    adversarial: Sequence[MapView]


class Examples(NamedTuple):
    """The images of one figure, and what its caption says of them.

    Attributes:
        groups: What each group of images is called, and its images; the same name may stand twice.
        classes: Names of the classes.
        columns: What each view of a series is called, such as models or epochs.
        subject: What the maps are of, such as the method or the defence.
        setting: Data, attack and budget, in words.
        rule: How the images were chosen, in words.
    """

    groups: Sequence[tuple[str, Sequence[MapSeries]]]
    classes: Sequence[str] = ()
    columns: Sequence[str] = ()
    subject: str = ""
    setting: str = ""
    rule: str = ""


class LeftOut(Exception):  # noqa: N818 - a fact about one figure, not a failure
    """A figure that cannot be made of what there is; its text says why."""


def quantile_examples(values: Sequence[float] | npt.NDArray[Any], count: int) -> list[int]:
    """Places of `count` typical values: ranked, the middle one of each of `count` equal parts; for one the median.

    It is how figures choose their images, so that nobody picks them. Of an even number the lower middle is taken, and
    equal values rank in their order; values that are NaN are left out.

    Returns:
        Places in `values`, by rising value; fewer where there are fewer values.
    """
    numbers = np.asarray(values, np.float64)
    ranked = [int(place) for place in np.argsort(numbers, kind="stable") if not np.isnan(numbers[place])]
    if count >= len(ranked):
        return ranked
    return [ranked[int(np.ceil((2 * part + 1) * len(ranked) / (2 * count))) - 1] for part in range(count)]
