"""Figs. 6, 7 and 9-11 of the paper: maps over training, and under several models."""

from matplotlib.figure import Figure

from attnlab.report.figures.drawing import Drawing
from attnlab.report.figures.panels import BELOW, Panel, Row, draw_panels, label_panel, view_panel
from attnlab.views import Examples

#: maps of different models are shown each relative to its largest value, since logits differ in scale
RELATIVE = "relative attention"


def figure6(images: Examples, *, grid: bool = False) -> Drawing:
    """Evolution of the map over training epochs, the predicted class and its confidence below (Fig. 6).

    Two rows for each image, a column for each epoch: maps of the image, maps of its adversarial counterparts.
    """
    caption = (
        "Figure 6. Activation map evolution in different training epochs, of the original image (top row) and of each "
        f"epoch's own adversarial image (bottom row). {BELOW}. {images.setting}. {images.rule}."
    )
    return Drawing(_side_by_side(images, grid=grid), caption)


def figure9(images: Examples, *, grid: bool = False) -> Drawing:
    """Maps under several models, such as raw, rectification only, preservation only and both (Fig. 9).

    As `figure6`, with a column for each model.
    """
    caption = (
        "Figure 9. Activation maps of original images and of adversarial images, each model being attacked itself: "
        f"{', '.join(images.columns)}. {BELOW}. {images.setting}. {images.rule}."
    )
    return Drawing(_side_by_side(images, grid=grid), caption)


def figure7(images: Examples, *, grid: bool = False) -> Drawing:
    """Adversarial image and its map under two defences or more, beside the original image (Fig. 7).

    A row for each model; for each image the original, the model's adversarial image and its map.
    """
    members = [one for _, group in images.groups for one in group]
    rows = []
    for number, model in enumerate(images.columns):
        panels: list[Panel | None] = []
        for one in members:
            view = one.adversarial[number]
            panels.append(None if number else label_panel(one, images.classes))
            panels.append(Panel(view.pixels, boxes=one.boxes))
            panels.append(view_panel(one, view, images.classes, relative=True))
        rows.append(Row(model, panels))
    titles = ["original", "adversarial", "its attention"] * len(members)
    caption = (
        "Figure 7. Original image, adversarial image and its activation map under each defence; each model is attacked "
        f"itself. {BELOW}. {images.setting}. {images.rule}."
    )
    return Drawing(draw_panels(rows, titles, bar=RELATIVE, grid=grid, together=3), caption)


def figure10(images: Examples, *, grid: bool = False, number: int = 10) -> Drawing:
    """Successful and failed defence: adversarial maps of an undefended and a defended model (Fig. 10).

    Of each image, in groups where the defence holds and fails, the original, the map of the undefended model's
    adversarial image, that of the defended model's; two images a row.
    """
    rows = []
    widest = min(2, max(len(members) for _, members in images.groups))
    for name, members in images.groups:
        for at in range(0, len(members), widest):
            panels: list[Panel | None] = []
            for one in members[at : at + widest]:
                panels.append(label_panel(one, images.classes))
                panels += [view_panel(one, view, images.classes, relative=True) for view in one.adversarial]
            rows.append(Row(name, panels + [None] * (3 * widest - len(panels))))
    figure = draw_panels(rows, ["original", *images.columns] * widest, bar=RELATIVE, grid=grid, together=3)
    first, second = images.columns
    caption = (
        f"Figure {number}. Example cases of (a) successful and (b) failed defense for adversarial training "
        f"({images.subject}): original image, activation map of the adversarial image for {first}, and of the "
        f"adversarial image for {second}, each attacked itself. {BELOW}. {images.setting}. {images.rule}."
    )
    return Drawing(figure, caption)


def figure11(images: Examples, *, grid: bool = False) -> Drawing:
    """Fig. 11: as Fig. 10, of a model trained with StepLL."""
    return figure10(images, grid=grid, number=11)


def _side_by_side(images: Examples, *, grid: bool) -> Figure:
    rows = []
    for one in (one for _, members in images.groups for one in members):
        clean, adversarial = (
            [view_panel(one, view, images.classes, relative=True) for view in views]
            for views in (one.clean, one.adversarial)
        )
        rows.append(Row("original", [label_panel(one, images.classes), *clean]))
        rows.append(Row("adversarial", [None, *adversarial]))
    return draw_panels(rows, ["", *images.columns], bar=RELATIVE, grid=grid)
