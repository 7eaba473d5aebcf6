"""Figs. 1 and 3 of the paper: maps of images before and after an attack."""

from matplotlib.figure import Figure

from attnlab.report.figures.drawing import Drawing
from attnlab.report.figures.panels import Panel, Row, difference, draw_panels, iou_text, prediction_text
from attnlab.views import Examples

TITLES = ("original image", "its attention", "adversarial attention", "perturbation")
ROWS = (
    "Visual attention of the successfully attacked image (top row) and the failed-attacked image (bottom row): the "
    "original image, its activation map, the adversarial image's activation map, and the perturbation, magnified. "
    "Below, the predicted class with its confidence; where it is wrong, in red, with the label and its confidence."
)


def figure1(images: Examples, *, grid: bool = False) -> Drawing:
    """Attention to successfully attacked and failed-attacked images (Fig. 1).

    Of each image, in groups such as `succeed`, its own view and that of its adversarial counterpart: the image with its
    boxes, its map, the adversarial image's map, and the perturbation, magnified.
    """
    caption = f"Figure 1. {ROWS} {images.subject}; {images.setting}. {images.rule}."
    return Drawing(_before_and_after(images, "attention", ious=True, grid=grid), caption)


def figure3(images: Examples, *, grid: bool = False) -> Drawing:
    """LIME's areas of successfully attacked and failed-attacked images, the strongest superpixels kept (Fig. 3).

    As `figure1`, the maps being weights of superpixels that speak for the class; these are no cells of a grid.
    """
    caption = f"Figure 3. {ROWS} {images.subject}; {images.setting}. {images.rule}."
    return Drawing(_before_and_after(images, "LIME weight", ious=False, grid=False), caption)


def _before_and_after(images: Examples, bar: str, *, ious: bool, grid: bool) -> Figure:
    rows = []
    for group, one in ((group, one) for group, members in images.groups for one in members):
        (clean,), (attacked,) = one.clean, one.adversarial
        change, factor = difference(clean.pixels, attacked.pixels)
        said, said_then = (prediction_text(view, one.label, images.classes) for view in (clean, attacked))
        iou, iou_then = ([iou_text(view)] if ious else [] for view in (clean, attacked))
        panels = [
            Panel(clean.pixels, None, one.boxes, [said], clean.prediction == one.label),
            Panel(clean.pixels, clean.map, one.boxes, iou),
            Panel(attacked.pixels, attacked.map, one.boxes, [said_then, *iou_then], attacked.prediction == one.label),
            Panel(change, below=[f"\N{MULTIPLICATION SIGN} {factor}"]),
        ]
        rows.append(Row(group, panels))
    return draw_panels(rows, TITLES, bar=bar, grid=grid)
