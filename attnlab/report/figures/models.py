"""Maps of models: for a first look, on the way of an attack, over training, side by side (Figs. 2, 6, 7 and 9-12)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from attnlab.report.figures.drawing import Drawing
from attnlab.report.figures.panels import BELOW, Panel, Row, draw_panels, label_panel, view_panel
from attnlab.views import Examples, MapSeries, MapView

#: maps of different models are shown each relative to its largest value, since logits differ in scale
RELATIVE = "relative attention"


def gaze(
    rows: Mapping[str, Sequence[MapView]],
    labels: Sequence[int],
    boxes: Sequence[Sequence[Sequence[float]]],
    classes: Sequence[str] = (),
    *,
    grid: bool = False,
) -> Figure:
    """Maps of several classifiers: a row for each of them, a column for each image.

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
    return draw_panels(drawn, bar=RELATIVE, grid=grid)


def figure2(images: Examples, *, grid: bool = False) -> Drawing:
    """The change of the map in an iterative attack (Fig. 2).

    A row for each image of one group: the image, its map, and from its adversarial views the maps after each round.
    """
    (_, members), *_ = images.groups
    text = (
        "Figure 2. The change of activation map in iterative attack: original image, activation map of the original "
        f"image and of the adversarial images after 1-{len(members[0].adversarial)} rounds"
    )
    return Drawing(_rounds([("", image) for image in members], images, grid=grid), _caption(text, images))


def figure12(images: Examples, *, grid: bool = False) -> Drawing:
    """The change of the map over rounds under StepLL (top row) and StepLL + A3 (bottom row) (Fig. 12).

    As `figure2`, of a group for each attack, both of the same images.
    """
    of_attacks = zip(*(members for _, members in images.groups), strict=True)
    rows = [(name, image) for pair in of_attacks for (name, _), image in zip(images.groups, pair, strict=True)]
    text = (
        "Figure 12. Activation map change in different attack rounds under StepLL (top row) and StepLL + A3 Attack "
        "(bottom row)"
    )
    return Drawing(_rounds(rows, images, grid=grid), _caption(text, images))


def figure6(images: Examples, *, grid: bool = False) -> Drawing:
    """Evolution of the map over training epochs, the predicted class and its confidence below (Fig. 6).

    Two rows for each image, a column for each epoch: maps of the image, maps of its adversarial counterparts.
    """
    text = (
        "Figure 6. Activation map evolution in different training epochs, of the original image (top row) and of each "
        "epoch's own adversarial image (bottom row)"
    )
    return Drawing(_clean_above_adversarial(images, grid=grid), _caption(text, images))


def figure9(images: Examples, *, grid: bool = False) -> Drawing:
    """Maps under several models, such as raw, rectification only, preservation only and both (Fig. 9).

    As `figure6`, with a column for each model.
    """
    text = (
        "Figure 9. Activation maps of original images and of adversarial images, each model being attacked itself: "
        f"{', '.join(images.columns)}"
    )
    return Drawing(_clean_above_adversarial(images, grid=grid), _caption(text, images))


def figure7(images: Examples, *, grid: bool = False) -> Drawing:
    """Adversarial image and its map under two defences or more, beside the original image (Fig. 7).

    A row for each model; for each image the original, the model's adversarial image and its map.
    """
    members = [image for _, group in images.groups for image in group]
    rows = []
    for number, model in enumerate(images.columns):
        panels: list[Panel | None] = []
        for image in members:
            view = image.adversarial[number]
            panels.append(None if number else label_panel(image, images.classes))
            panels.append(Panel(view.pixels, None, image.boxes, mask=image.mask))
            panels.append(view_panel(image, view, images.classes, relative=True))
        rows.append(Row(model, panels))
    titles = ["original", "adversarial", "its attention"] * len(members)
    text = (
        "Figure 7. Original image, adversarial image and its activation map under each defence; each model is attacked "
        "itself"
    )
    return Drawing(draw_panels(rows, titles, bar=RELATIVE, grid=grid, together=3), _caption(text, images))


def figure10(images: Examples, *, grid: bool = False, number: int = 10) -> Drawing:
    """Successful and failed defence: adversarial maps of an undefended and a defended model (Fig. 10).

    Of each image, in groups where the defence holds and fails, the original, the map of the undefended model's
    adversarial image, that of the defended model's; two images a row.
    """
    rows = []
    widest = min(2, max(len(members) for _, members in images.groups))
    for name, members in images.groups:
        for start in range(0, len(members), widest):
            panels: list[Panel | None] = []
            for image in members[start : start + widest]:
                panels.append(label_panel(image, images.classes))
                panels += [view_panel(image, view, images.classes, relative=True) for view in image.adversarial]
            rows.append(Row(name, panels + [None] * (3 * widest - len(panels))))
    figure = draw_panels(rows, ["original", *images.columns] * widest, bar=RELATIVE, grid=grid, together=3)
    first, second = images.columns
    text = (
        f"Figure {number}. Example cases of (a) successful and (b) failed defense for adversarial training "
        f"({images.subject}): original image, activation map of the adversarial image for {first}, and of the "
        f"adversarial image for {second}, each attacked itself"
    )
    return Drawing(figure, _caption(text, images))


def figure11(images: Examples, *, grid: bool = False) -> Drawing:
    """Fig. 11: as Fig. 10, of a model trained with StepLL."""
    return figure10(images, grid=grid, number=11)


def _rounds(rows: Sequence[tuple[str, MapSeries]], images: Examples, *, grid: bool) -> Figure:
    drawn = []
    for name, image in rows:
        maps = [view_panel(image, view, images.classes) for view in (*image.clean[:1], *image.adversarial)]
        drawn.append(Row(name, [label_panel(image, images.classes), *maps]))
    rounds = [f"round {number}" for number in range(1, len(rows[0][1].adversarial) + 1)]
    return draw_panels(drawn, ["original", "its attention", *rounds], bar="Grad-CAM", grid=grid)


def _clean_above_adversarial(images: Examples, *, grid: bool) -> Figure:
    rows = []
    for image in (image for _, members in images.groups for image in members):
        clean, adversarial = (
            [view_panel(image, view, images.classes, relative=True) for view in views]
            for views in (image.clean, image.adversarial)
        )
        rows.append(Row("original", [label_panel(image, images.classes), *clean]))
        rows.append(Row("adversarial", [None, *adversarial]))
    return draw_panels(rows, ["", *images.columns], bar=RELATIVE, grid=grid)


def _caption(text: str, images: Examples) -> str:
    return f"{text}. {BELOW}. {images.setting}. {images.rule}."
