"""What is seen when a classifier looks at an image: plain arrays, for figures. Knows no torch."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]
Map = npt.NDArray[np.floating[Any]]


class Look(NamedTuple):
    """One look at one image.

    Attributes:
        pixels: In [0, 1], (H, W, C), C being 1 or 3.
        map: Signed attention, (h, w).
        prediction: Class index.
        confidence: Softmax probability of the label.
        top: Softmax probability of the prediction; NaN where it is not known.
    """

    pixels: Pixels
    map: Map
    prediction: int
    confidence: float
    top: float = float("nan")


class View(NamedTuple):
    """One image of an analysis, seen again.

    Attributes:
        record: Its row of the records, as in `attnlab.records.ATTENTION`.
        clean: Pixels in [0, 1] at the model's size, (H, W, C), C being 1 or 3.
        adversarial: The attacked image of each eps of the run, likewise.
    """

    record: Mapping[str, Any]
    clean: Pixels
    adversarial: Sequence[Pixels]


class Series(NamedTuple):
    """Looks at one image and at its adversarial counterparts: by several models, or at several moments.

    Attributes:
        image_id: Name of the image.
        label: Class index.
        boxes: Half-open pixels, (B, 4).
        clean: Looks at the image itself.
        adversarial: Looks at its adversarial counterparts.
    """

    image_id: str
    label: int
    boxes: npt.NDArray[np.float64]
    clean: Sequence[Look]
    adversarial: Sequence[Look]


def spread(values: Sequence[float] | npt.NDArray[Any], count: int) -> list[int]:
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
