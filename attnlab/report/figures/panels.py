"""A grid of images, maps over them: what Figs. 1-3, 6, 7 and 9-13 of the paper are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from attnlab.report.figures.overlay import Array, colour_bar, highest, overlay
from attnlab.report.figures.style import BLACK, BLUE, COLUMN, PAGE, VERMILION, styled
from attnlab.views import Map, MapSeries, MapView

LEAST = 256  # pixels that the shorter side of a picture has at least, so that a map over a small image is smooth
BELOW = "Below each map, the predicted class and its confidence, in red where it is wrong"  # of captions
LABEL, BAR, GAP, GROUP_GAP, LINE, TITLE = 0.2, 0.46, 0.06, 0.12, 0.125, 0.19  # inches
LETTER = 0.056  # width of a letter of 7 points on average, in inches


@dataclass(frozen=True)
class Panel:
    """One image of a grid, a map over it, boxes or a mask outlined, lines of text below."""

    image: Array  # pixels in [0, 1], (H, W, C)
    map: Map | None = None  # (h, w)
    boxes: Array = field(default_factory=lambda: np.empty((0, 4)))  # half-open pixels, (B, 4)
    below: Sequence[str] = ()
    mask: Array | None = None  # (H, W), in place of boxes
    right: bool | None = None  # the first line is a prediction: True in blue where it is right, False in red


@dataclass(frozen=True)
class Row:
    """Panels side by side that share a colour scale; None leaves a place empty."""

    label: str
    panels: Sequence[Panel | None]

    @property
    def maps(self) -> list[Map]:
        """The maps of its panels."""
        return [panel.map for panel in self.panels if panel and panel.map is not None]


@styled
def draw_panels(
    rows: Sequence[Row], titles: Sequence[str] = (), *, bar: str = "", grid: bool = False, together: int = 0
) -> Figure:
    """A grid of panels under their columns' titles, each row with one colour scale and its bar, called `bar`.

    It is as wide as a column with up to three columns, else as a page. `grid` draws the borders of the maps' cells;
    `together` columns belong together, with a wider gap behind them; 0 for all.
    """
    columns = max(len(row.panels) for row in rows)
    width = COLUMN if columns <= 3 else PAGE
    apart = [GROUP_GAP * (column // together) if together else 0.0 for column in range(columns)]
    side = (width - LABEL - BAR - GAP * columns - apart[-1]) / columns
    aspects = [[panel.image.shape[0] / panel.image.shape[1] for panel in row.panels if panel] for row in rows]
    heights = [side * max(ratios) for ratios in aspects]
    texts = [LINE * max(len(panel.below) for panel in row.panels if panel) + GAP for row in rows]
    height = sum(heights) + sum(texts) + TITLE
    figure = Figure(figsize=(width, height))

    def axes_at(*inches: float) -> Axes:
        return figure.add_axes(tuple(np.divide(inches, (width, height, width, height))))

    top = height - TITLE
    for number, (row, tall, text) in enumerate(zip(rows, heights, texts, strict=True)):
        top -= tall
        high = max(map(highest, row.maps), default=0.0)
        for column, panel in enumerate(row.panels):
            if panel is None:
                continue
            axes = axes_at(LABEL + column * (side + GAP) + apart[column], top, side, tall)
            _draw(axes, panel, high, grid=grid, letters=int((side + GAP) / LETTER))
            if not number and titles:
                axes.set_title(titles[column], fontsize=7, pad=3)
        figure.text(0.06 / width, (top + tall / 2) / height, row.label, rotation=90, ha="center", va="center")
        if row.maps:
            _bar(axes_at(LABEL + columns * (side + GAP) + apart[-1], top, 0.07, tall), high, bar)
        top -= text
    return figure


def _draw(axes: Axes, panel: Panel, high: float, *, grid: bool, letters: int) -> None:
    """Draw a panel in pixels of its image: the map up to a highest value, lines cut where more letters do not fit."""
    tall, wide = panel.image.shape[:2]
    scale = max(1, -(-LEAST // min(tall, wide)))
    axes.imshow(overlay(panel.image, panel.map, mask=panel.mask, high=high, scale=scale), extent=(0, wide, tall, 0))
    if grid and panel.map is not None and panel.map.shape != panel.image.shape[:2]:
        rows, columns = panel.map.shape
        lines: dict[str, Any] = {"color": "white", "alpha": 0.4, "linewidth": 0.3}
        axes.hlines([tall * row / rows for row in range(1, rows)], 0, wide, **lines)
        axes.vlines([wide * column / columns for column in range(1, columns)], 0, tall, **lines)
    for x0, y0, x1, y1 in panel.boxes:
        casing = [withStroke(linewidth=2.2, foreground="black")]
        axes.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white", linewidth=1, path_effects=casing)
        )
    axes.set(xlim=(0, wide), ylim=(tall, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for number, line in enumerate(panel.below):
        colour = BLACK if number or panel.right is None else BLUE if panel.right else VERMILION
        axes.annotate(
            line if len(line) <= letters else f"{line[: letters - 1]}…",
            (0.5, 0),
            (0, -2 - 72 * LINE * number),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7,
            color=colour,
        )


def _bar(axes: Axes, high: float, name: str) -> None:
    axes.imshow(colour_bar(128), extent=(0, 1, 0, 1), aspect="auto")
    axes.set(xticks=[], ylim=(0, 1))
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks([0, 1], ["0", f"{high:.2g}"] if high > 0 else ["", "≤ 0"], fontsize=6)
    axes.tick_params(length=1.5, pad=1)
    axes.set_ylabel(name, fontsize=6)
    axes.yaxis.set_label_coords(5, 0.5)  # clear of the longest number


def view_panel(image: MapSeries, view: MapView, classes: Sequence[str], *, relative: bool = False) -> Panel:
    """A view's map over its image, the prediction below; `relative` shows it as shares of its largest value."""
    shown = shares(view.map) if relative else view.map
    below = [prediction_text(view, image.label, classes)]
    return Panel(view.pixels, shown, image.boxes, below, image.mask, view.prediction == image.label)


def label_panel(image: MapSeries, classes: Sequence[str]) -> Panel:
    """The image itself, its label below."""
    return Panel(image.clean[0].pixels, None, image.boxes, [class_name(image.label, classes)], image.mask)


def shares(attention: Map) -> Map:
    """A map after the ReLU as shares of its largest value; all 0 where nothing is positive."""
    positive = np.clip(attention, 0, None)
    largest = positive.max()
    result: Map = positive / largest if largest > 0 else positive
    return result


def prediction_text(view: MapView, label: int, classes: Sequence[str]) -> str:
    """Text below a map: the predicted class with its confidence, as in Fig. 6.

    Where the prediction is wrong and its own confidence not known, the label's is shown, named as such.
    """
    name = class_name(view.prediction, classes)
    if view.prediction == label:
        return f"{name} ({view.confidence:.2f})"
    if np.isnan(view.top):
        return f"{name} ({class_name(label, classes)}: {view.confidence:.2f})"
    return f"{name} ({view.top:.2f})"


def iou_text(view: MapView) -> str:
    """The IoU with the ground truth, if it is known."""
    return "" if np.isnan(view.iou) else f"IoU {view.iou:.2f}"


def class_name(number: int, classes: Sequence[str]) -> str:
    """Name of a class up to its first comma; its number where the data set names none."""
    return classes[number].partition(",")[0] if number < len(classes) else f"class {number}"


def difference(clean: Array, adversarial: Array) -> tuple[Array, int]:
    """An attack's perturbation, magnified around mid-grey to a third of the range either way, and the factor."""
    change = adversarial - clean
    largest = float(np.abs(change).max())
    factor = max(1, round(1 / (3 * largest))) if largest > 0 else 1
    return (0.5 + factor * change).clip(0, 1), factor
