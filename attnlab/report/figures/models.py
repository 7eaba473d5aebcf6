"""Maps on the way of an attack, over training, and under several models: Figs. 2, 6, 7 and 9-12 of the paper."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from attnlab.looks import Look, Map, Series
from attnlab.report.figures.panels import Panel, Row, class_name, draw_panels, told

#: maps of different models are shown each relative to its largest value, since logits differ in scale
RELATIVE = "relative attention"


def figure2(images: Sequence[Series], classes: Sequence[str], *, grid: bool = False) -> Figure:
    """The change of the map in an iterative attack (Fig. 2).

    Args:
        images: Each with a look at the image itself, and adversarial looks after 1, 2 ... rounds.
        classes: Names of the classes.
        grid: Draw the borders of the maps' cells.

    Returns:
        A row for each image: the image, its map, the maps after each round.
    """
    return _rounds([("", one) for one in images], classes, grid=grid)


def figure12(pairs: Sequence[tuple[Series, Series]], classes: Sequence[str], *, grid: bool = False) -> Figure:
    """The change of the map over rounds under StepLL (top row) and StepLL + A3 (bottom row) (Fig. 12).

    Args:
        pairs: Of each image the series of both attacks, as for `figure2`.
        classes: Likewise.
        grid: Likewise.
    """
    names = ("StepLL", "StepLL + A3")
    rows = [(name, one) for pair in pairs for name, one in zip(names, pair, strict=True)]
    return _rounds(rows, classes, grid=grid)


def figure6(images: Sequence[Series], epochs: Sequence[int], classes: Sequence[str], *, grid: bool = False) -> Figure:
    """Evolution of the map over training epochs, the predicted class and its confidence below (Fig. 6).

    Args:
        images: Looks at each epoch, clean and adversarial.
        epochs: Their numbers.
        classes: Names of the classes.
        grid: Draw the borders of the maps' cells.

    Returns:
        Two rows for each image: maps of the image, maps of its adversarial counterparts.
    """
    return _side_by_side(images, [f"epoch {epoch}" for epoch in epochs], classes, grid=grid)


def figure9(images: Sequence[Series], models: Sequence[str], classes: Sequence[str], *, grid: bool = False) -> Figure:
    """Maps under several models, such as raw, rectification only, preservation only and both (Fig. 9).

    Args:
        images: Looks of each model, clean and adversarial.
        models: What the models are called.
        classes: Names of the classes.
        grid: Draw the borders of the maps' cells.
    """
    return _side_by_side(images, models, classes, grid=grid)


def figure7(images: Sequence[Series], models: Sequence[str], classes: Sequence[str], *, grid: bool = False) -> Figure:
    """Adversarial image and its map under two defences or more, beside the original image (Fig. 7).

    Arguments as for `figure9`.

    Returns:
        A row for each model; for each image the original, the model's adversarial image and its map.
    """
    rows = []
    for number, model in enumerate(models):
        panels: list[Panel | None] = []
        for one in images:
            look = one.adversarial[number]
            panels.append(None if number else Panel(one.clean[0].pixels, boxes=one.boxes, below=[_name(one, classes)]))
            panels.append(Panel(look.pixels, boxes=one.boxes))
            panels.append(_panel(one, look, classes))
        rows.append(Row(model, panels))
    titles = ["original", "adversarial", "its attention"] * len(images)
    return draw_panels(rows, titles, bar=RELATIVE, grid=grid, together=3)


def figure10(
    groups: Sequence[tuple[str, Sequence[Series]]], models: Sequence[str], classes: Sequence[str], *, grid: bool = False
) -> Figure:
    """Successful and failed defence: adversarial maps of an undefended and a defended model (Figs. 10 and 11).

    Args:
        groups: What each group is called, and its images, with looks of both models.
        models: What the two are called.
        classes: Names of the classes.
        grid: Draw the borders of the maps' cells.

    Returns:
        Of each image the original, the map of the undefended model's adversarial image, that of the defended model's;
        two images a row.
    """
    rows = []
    widest = min(2, max(len(images) for _, images in groups))
    for name, images in groups:
        for at in range(0, len(images), widest):
            panels: list[Panel | None] = []
            for one in images[at : at + widest]:
                panels.append(Panel(one.clean[0].pixels, boxes=one.boxes, below=[_name(one, classes)]))
                panels += [_panel(one, look, classes) for look in one.adversarial]
            rows.append(Row(name, panels + [None] * (3 * widest - len(panels))))
    return draw_panels(rows, ["original", *models] * widest, bar=RELATIVE, grid=grid, together=3)


def relative(attention: Map) -> Map:
    """A map after the ReLU as shares of its largest value; all 0 where nothing is positive."""
    positive = np.clip(attention, 0, None)
    highest = positive.max()
    result: Map = positive / highest if highest > 0 else positive
    return result


def _rounds(rows: Sequence[tuple[str, Series]], classes: Sequence[str], *, grid: bool) -> Figure:
    drawn = []
    for name, one in rows:
        looks = [one.clean[0], *one.adversarial]
        maps = [
            Panel(look.pixels, look.map, one.boxes, [told(look, one.label, classes)], look.prediction == one.label)
            for look in looks
        ]
        original = Panel(one.clean[0].pixels, boxes=one.boxes, below=[_name(one, classes)])
        drawn.append(Row(name, [original, *maps]))
    rounds = [f"round {number}" for number in range(1, len(rows[0][1].adversarial) + 1)]
    return draw_panels(drawn, ["original", "its attention", *rounds], bar="Grad-CAM", grid=grid)


def _side_by_side(images: Sequence[Series], titles: Sequence[str], classes: Sequence[str], *, grid: bool) -> Figure:
    rows = []
    for one in images:
        original = Panel(one.clean[0].pixels, boxes=one.boxes, below=[_name(one, classes)])
        rows.append(Row("original", [original, *(_panel(one, look, classes) for look in one.clean)]))
        rows.append(Row("adversarial", [None, *(_panel(one, look, classes) for look in one.adversarial)]))
    return draw_panels(rows, ["", *titles], bar=RELATIVE, grid=grid)


def _panel(one: Series, look: Look, classes: Sequence[str]) -> Panel:
    """A look's map over what was looked at, relative to its largest value."""
    below = [told(look, one.label, classes)]
    return Panel(look.pixels, relative(look.map), one.boxes, below, look.prediction == one.label)


def _name(one: Series, classes: Sequence[str]) -> str:
    return class_name(one.label, classes)
