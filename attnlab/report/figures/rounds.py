"""Figs. 2 and 12 of the paper: maps on the way of an attack."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from attnlab.report.figures.drawing import Drawing
from attnlab.report.figures.panels import BELOW, Row, draw_panels, label_panel, view_panel
from attnlab.views import Examples, MapSeries


def figure2(images: Examples, *, grid: bool = False) -> Drawing:
    """The change of the map in an iterative attack (Fig. 2).

    A row for each image of one group: the image, its map, and from its adversarial views the maps after each round.
    """
    (_, members), *_ = images.groups
    caption = (
        "Figure 2. The change of activation map in iterative attack: original image, activation map of the original "
        f"image and of the adversarial images after 1-{len(members[0].adversarial)} rounds. {BELOW}. "
        f"{images.setting}. {images.rule}."
    )
    return Drawing(_rounds([("", one) for one in members], images, grid=grid), caption)


def figure12(images: Examples, *, grid: bool = False) -> Drawing:
    """The change of the map over rounds under StepLL (top row) and StepLL + A3 (bottom row) (Fig. 12).

    As `figure2`, of a group for each attack, both of the same images.
    """
    of_attacks = zip(*(members for _, members in images.groups), strict=True)
    rows = [(name, one) for pair in of_attacks for (name, _), one in zip(images.groups, pair, strict=True)]
    caption = (
        "Figure 12. Activation map change in different attack rounds under StepLL (top row) and StepLL + A3 Attack "
        f"(bottom row). {BELOW}. {images.setting}. {images.rule}."
    )
    return Drawing(_rounds(rows, images, grid=grid), caption)


def _rounds(rows: Sequence[tuple[str, MapSeries]], images: Examples, *, grid: bool) -> Figure:
    drawn = []
    for name, one in rows:
        maps = [view_panel(one, view, images.classes) for view in (one.clean[0], *one.adversarial)]
        drawn.append(Row(name, [label_panel(one, images.classes), *maps]))
    rounds = [f"round {number}" for number in range(1, len(rows[0][1].adversarial) + 1)]
    return draw_panels(drawn, ["original", "its attention", *rounds], bar="Grad-CAM", grid=grid)
