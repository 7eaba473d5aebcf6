"""Maps of the same images under several models, or under none but one: the picture for a first look."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from attnlab.report.figures.panels import Row, draw_panels, view_panel
from attnlab.views import MapSeries, MapView


def gaze(
    rows: Mapping[str, Sequence[MapView]],
    labels: Sequence[int],
    boxes: Sequence[Sequence[Sequence[float]]],
    classes: Sequence[str] = (),
    *,
    grid: bool = False,
) -> Figure:
    """What classifiers look at: a row for each of them, a column for each image.

    Args:
        rows: What a row is called -> views of the images.
        labels: Class of each image.
        boxes: Of each image its boxes, half-open pixels.
        classes: Names of the classes.
        grid: Draw the borders of the maps' cells.

    Returns:
        Each map as shares of its largest value, over its image; below it the prediction and its confidence, in blue
        where it is right and in red where it is wrong.
    """
    images = [
        MapSeries("", label, np.asarray(corners, np.float64).reshape(-1, 4), [], [])
        for label, corners in zip(labels, boxes, strict=True)
    ]
    drawn = [
        Row(name, [view_panel(image, view, classes, relative=True) for image, view in zip(images, views, strict=True)])
        for name, views in rows.items()
    ]
    return draw_panels(drawn, bar="relative attention", grid=grid)
