"""Maps of clean and attacked images, from an analysis: Figs. 1, 3 and 13 of the paper."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from attnlab.looks import Look, Map, View
from attnlab.report.figures.panels import Panel, Row, difference, draw_panels, told
from attnlab.report.lime import segments_of
from attnlab.superpixels import strongest

Size = tuple[int, int]


def figure1(rows: Sequence[tuple[str, View]], eps: int, shape: Size, classes: Sequence[str], *, grid: bool) -> Figure:
    """Attention to successfully attacked and failed-attacked images (Fig. 1).

    Args:
        rows: What each row is called, such as `succeed`, and its image.
        eps: Place of the attack's eps among those of the run.
        shape: Height and width of the maps in cells.
        classes: Names of the classes.
        grid: Draw the borders of the maps' cells.

    Returns:
        In each row the image with its boxes, its map, the adversarial image's map, and the perturbation, magnified.
    """
    maps = [
        (map_of(seen.record["map"], shape), map_of(seen.record["adversarial"][eps]["map"], shape)) for _, seen in rows
    ]
    return _rows(rows, maps, eps, classes, bar="attention", titles=TITLES, grid=grid, ious=True)


def figure3(
    rows: Sequence[tuple[str, View]], eps: int, features: int, size: Size, classes: Sequence[str], *, grid: bool
) -> Figure:
    """LIME's areas of successfully attacked and failed-attacked images, the strongest superpixels kept (Fig. 3).

    Arguments as for `figure1`, but for:

    Args:
        rows: Images with explanations.
        eps: Likewise.
        features: How many superpixels are kept; those that speak for the class are shown, by their weights.
        size: Height and width of the images in pixels.
        classes: Likewise.
        grid: Not of use here.
    """
    maps = []
    for _, seen in rows:
        explained = (seen.record["lime"], seen.record["adversarial"][eps]["lime"])
        maps.append((lime_map(explained[0], features, size), lime_map(explained[1], features, size)))
    return _rows(rows, maps, eps, classes, bar="LIME weight", titles=TITLES, grid=False, ious=False)


def figure13(
    groups: Sequence[tuple[str, Sequence[View]]], shape: Size, classes: Sequence[str], *, grid: bool
) -> Figure:
    """Failure cases: images whose attention is scattered, or lies beside the object (Fig. 13).

    They are found, not picked: (a) the I_att images with the highest scatter of the map (root mean square distance of
    the positive attention from its centre), (b) those with the lowest IoU with the boxes among the images whose label
    has a confidence of at least 0.9; see `choose.scattered` and `choose.misled`.

    Args:
        groups: What each row is called, and its images, as the rules rank them.
        shape: Height and width of the maps in cells.
        classes: Names of the classes.
        grid: Draw the borders of the maps' cells.

    Returns:
        In each row pairs of the image with its boxes and its map.
    """
    pairs = max(len(images) for _, images in groups)
    rows = []
    for name, images in groups:
        panels: list[Panel | None] = []
        for seen in images:
            look = clean_look(seen, map_of(seen.record["map"], shape))
            line = told(look, seen.record["label"], classes)
            panels.append(Panel(look.pixels, boxes=boxes_of(seen), below=[line], right=True))
            panels.append(Panel(look.pixels, look.map, boxes_of(seen), below=[_iou_line(seen.record)]))
        rows.append(Row(name, panels + [None] * (2 * pairs - len(panels))))
    return draw_panels(rows, ["image", "attention"] * pairs, bar="attention", grid=grid, together=2)


TITLES = ("original image", "its attention", "adversarial attention", "perturbation")


def _rows(
    rows: Sequence[tuple[str, View]],
    maps: Sequence[tuple[Map, Map]],
    eps: int,
    classes: Sequence[str],
    *,
    bar: str,
    titles: Sequence[str],
    grid: bool,
    ious: bool,
) -> Figure:
    drawn = []
    for (name, seen), (clean_map, adversarial_map) in zip(rows, maps, strict=True):
        record, attacked, boxes = seen.record, seen.record["adversarial"][eps], boxes_of(seen)
        clean = clean_look(seen, clean_map)
        after = Look(seen.adversarial[eps], adversarial_map, attacked["prediction"], attacked["confidence"])
        change, factor = difference(seen.clean, seen.adversarial[eps])
        label = record["label"]
        panels = [
            Panel(clean.pixels, None, boxes, [told(clean, label, classes)], clean.prediction == label),
            Panel(clean.pixels, clean.map, boxes, [_iou_line(record)] if ious else []),
            Panel(
                after.pixels,
                after.map,
                boxes,
                [told(after, label, classes), *([_iou_line(attacked)] if ious else [])],
                after.prediction == label,
            ),
            Panel(change, below=[f"\N{MULTIPLICATION SIGN} {factor}"]),
        ]
        drawn.append(Row(name, panels))
    return draw_panels(drawn, titles, bar=bar, grid=grid)


def map_of(values: Sequence[float] | None, shape: Size) -> Map:
    """A map as the records hold it, row by row, as (h, w)."""
    return np.asarray(values, np.float64).reshape(shape)


def lime_map(explanation: Mapping[str, Any], features: int, size: Size) -> Map:
    """Weights of an explanation's strongest superpixels that speak for the class, 0 elsewhere, (H, W)."""
    segments = segments_of(explanation, size)
    weights = np.asarray(explanation["weights"])
    kept: Map = np.where(strongest(weights, features), weights, 0.0)[segments]
    return kept


def clean_look(seen: View, attention: Map) -> Look:
    """The look at an image as it is."""
    return Look(seen.clean, attention, seen.record["prediction"], seen.record["confidence"])


def boxes_of(seen: View) -> np.ndarray:
    """Boxes of an image, (B, 4)."""
    return np.asarray(seen.record["boxes"], np.float64).reshape(-1, 4)


def _iou_line(record: Mapping[str, Any]) -> str:
    value = record["iou_att_gt"]
    return "" if value is None else f"IoU {value:.2f}"
