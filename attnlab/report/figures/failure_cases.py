"""Fig. 13 of the paper: images whose attention is scattered, or lies beside the object."""

from attnlab.report.figures.drawing import Drawing
from attnlab.report.figures.panels import Panel, Row, draw_panels, iou_text, prediction_text
from attnlab.views import Examples


def figure13(images: Examples, *, grid: bool = False) -> Drawing:
    """Failure cases (Fig. 13), found and not picked: see `choose.scattered` and `choose.misled`.

    In each row, which is a group, pairs of the image with its boxes and its map.
    """
    pairs = max(len(members) for _, members in images.groups)
    rows = []
    for name, members in images.groups:
        panels: list[Panel | None] = []
        for one in members:
            view = one.clean[0]
            said = prediction_text(view, one.label, images.classes)
            panels.append(Panel(view.pixels, boxes=one.boxes, below=[said], right=True))
            panels.append(Panel(view.pixels, view.map, one.boxes, below=[iou_text(view)]))
        rows.append(Row(name, panels + [None] * (2 * pairs - len(panels))))
    figure = draw_panels(rows, ["image", "attention"] * pairs, bar="attention", grid=grid, together=2)
    caption = f"Figure 13. Images that are difficult to form attention on. {images.rule}; {images.setting}."
    return Drawing(figure, caption)
