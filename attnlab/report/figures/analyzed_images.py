"""Figs. 1, 3 and 13 of the paper: images of an analysis with their maps, before and after its attack."""

from collections.abc import Sequence

from attnlab.report.figures.drawing import Drawing
from attnlab.report.figures.panels import Panel, Row, difference, draw_panels, iou_text, prediction_text
from attnlab.report.outcomes import GROUPS, image_of
from attnlab.views import Examples
from attnlab.words import listed

TITLES = ("original image", "its attention", "adversarial attention", "perturbation")
ROWS = (
    "the original image, its activation map, the adversarial image's activation map, and the perturbation, magnified. "
    "Below, the predicted class with its confidence; where it is wrong, in red, with the label and its confidence."
)


def figure1(images: Examples, *, grid: bool = False) -> Drawing:
    """Attention to successfully attacked and failed-attacked images (Fig. 1).

    Of each image, in groups such as `succeed`, its own view and that of its adversarial counterpart: the image with its
    ground truth, its map, the adversarial image's map, and the perturbation, magnified.
    """
    return _before_and_after(1, images, "attention", ious=True, grid=grid)


def figure3(images: Examples, *, grid: bool = False) -> Drawing:
    """LIME's areas of successfully attacked and failed-attacked images, the strongest superpixels kept (Fig. 3).

    As `figure1`, the maps being weights of superpixels that speak for the class; these are no cells of a grid.
    """
    return _before_and_after(3, images, "LIME weight", ious=False, grid=False)


def figure13(images: Examples, *, grid: bool = False) -> Drawing:
    """Failure cases (Fig. 13), found and not picked: see `choose.scattered` and `choose.misled`.

    In each row, which is a group, pairs of the image with its ground truth and its map.
    """
    pairs = max(len(members) for _, members in images.groups)
    rows = []
    for name, members in images.groups:
        panels: list[Panel | None] = []
        for image in members:
            (view,) = image.clean
            prediction = prediction_text(view, image.label, images.classes)
            panels.append(Panel(view.pixels, None, image.boxes, [prediction], image.mask, right=True))
            panels.append(Panel(view.pixels, view.map, image.boxes, [iou_text(view)], image.mask))
        rows.append(Row(name, panels + [None] * (2 * pairs - len(panels))))
    figure = draw_panels(rows, ["image", "attention"] * pairs, bar="attention", grid=grid, together=2)
    caption = f"Figure 13. Images that are difficult to form attention on. {images.rule}; {images.setting}."
    return Drawing(figure, caption)


def _shown(groups: Sequence[str]) -> str:
    """What the images of the rows are, in words; of two rows each with its place."""
    places = (" (top row)", " (bottom row)") if len(groups) == len(GROUPS) else [""] * len(groups)
    return listed(list(dict.fromkeys(image_of(group) + place for group, place in zip(groups, places, strict=True))))


def _before_and_after(number: int, images: Examples, bar: str, *, ious: bool, grid: bool) -> Drawing:
    rows = []
    for group, image in ((group, image) for group, members in images.groups for image in members):
        (clean,), (attacked,) = image.clean, image.adversarial
        change, factor = difference(clean.pixels, attacked.pixels)
        before, after = (prediction_text(view, image.label, images.classes) for view in (clean, attacked))
        iou, iou_after = ([iou_text(view)] if ious else [] for view in (clean, attacked))
        right, right_after = (view.prediction == image.label for view in (clean, attacked))
        panels = [
            Panel(clean.pixels, None, image.boxes, [before], image.mask, right),
            Panel(clean.pixels, clean.map, image.boxes, iou, image.mask),
            Panel(attacked.pixels, attacked.map, image.boxes, [after, *iou_after], image.mask, right_after),
            Panel(change, below=[f"\N{MULTIPLICATION SIGN} {factor}"]),
        ]
        rows.append(Row(group, panels))
    shown = _shown([row.label for row in rows])
    caption = f"Figure {number}. Visual attention of {shown}: {ROWS} {images.subject}; {images.setting}. {images.rule}."
    return Drawing(draw_panels(rows, TITLES, bar=bar, grid=grid), caption)
