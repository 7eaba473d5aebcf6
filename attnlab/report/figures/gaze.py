"""Maps of the same images under several models, or under none but one: the picture for a first look."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from attnlab.looks import Look
from attnlab.report.figures.models import relative
from attnlab.report.figures.panels import Panel, Row, draw_panels, told


def gaze(
    rows: Mapping[str, Sequence[Look]],
    labels: Sequence[int],
    boxes: Sequence[Sequence[Sequence[float]]],
    classes: Sequence[str] = (),
    *,
    grid: bool = False,
) -> Figure:
    """What classifiers look at: a row for each of them, a column for each image.

    Args:
        rows: What a row is called -> looks at the images.
        labels: Class of each image.
        boxes: Of each image its boxes, half-open pixels.
        classes: Names of the classes.
        grid: Draw the borders of the maps' cells.

    Returns:
        Each map as shares of its largest value, over its image; below it the prediction and its confidence, in blue
        where it is right and in red where it is wrong.
    """
    corners = [np.asarray(of_image, np.float64).reshape(-1, 4) for of_image in boxes]
    drawn = [
        Row(
            name,
            [
                Panel(look.pixels, relative(look.map), box, [told(look, label, classes)], look.prediction == label)
                for look, label, box in zip(looks, labels, corners, strict=True)
            ],
        )
        for name, looks in rows.items()
    ]
    return draw_panels(drawn, bar="relative attention", grid=grid)
