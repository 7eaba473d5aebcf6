"""Draw the first images of a data set with their ground truth, so that a shift is seen at a glance."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from attnlab.data import DATASETS, TRUTHS, load_dataset
from attnlab.data.base import UNLABELLED, ImageSet
from attnlab.data.summary import summarise
from attnlab.doctor.finding import Finding, from_error
from attnlab.errors import Unusable, UserError
from attnlab.files import write_whole
from attnlab.report.figures.panels import Panel, Row, class_name, draw_panels
from attnlab.stores import Root

ROWS, COLUMNS = 3, 3
LOOKED_AT = 100  # images that are tried at most
NAME_LETTERS = 12  # of an image's name, its end


def draw_truth(images: ImageSet) -> Figure | None:
    """The first nine images that can be used, as they are stored, with boxes and masks; below each its name and label.

    None where none of the first hundred can be used.
    """
    panels: list[Panel | None] = []
    for index in range(min(LOOKED_AT, len(images.image_ids))):
        try:
            example = images.read(index)
            mask, _ = example.mask_that_counts()
        except Unusable:
            continue
        pixels = np.asarray(example.picture().convert("RGB"), np.float32) / 255
        name = images.image_ids[index]
        shown = name if len(name) <= NAME_LETTERS else f"…{name[-NAME_LETTERS:]}"
        unlabelled = example.label == UNLABELLED
        below = [shown, "no label" if unlabelled else class_name(example.label, images.classes)]
        panels.append(Panel(pixels, None, example.boxes.numpy(), below, mask))
        if len(panels) == ROWS * COLUMNS:
            break
    if not panels:
        return None
    panels += [None] * (-len(panels) % COLUMNS)
    rows = [Row("", panels[at : at + COLUMNS]) for at in range(0, len(panels), COLUMNS)]
    return draw_panels(rows)


def drawn(
    name: str, roots: Sequence[Root], split: str | None, label: str | None, out: Path, truth: str = TRUTHS[0]
) -> Iterator[Finding]:
    """Say what a data set holds in each of the roots, and draw it to a file below `out`; nothing where it is not."""
    for number, root in enumerate(roots if DATASETS.expect(name).holds else (None,)):
        try:
            images = load_dataset(name, root, split, label)
        except (UserError, OSError, UnicodeDecodeError):  # which the check of the data has reported
            continue
        title = f"{name}-{split or DATASETS[name].split}" + (f"-{number}" if number else "")
        title = title.replace("/", "-").replace(":", "-")
        yield Finding("data", "summary", str(summarise(images, range(len(images.image_ids)), truth)))
        yield drawing(images, out / "doctor" / f"{title}.png")


def drawing(images: ImageSet, path: Path) -> Finding:
    """Write that picture to a file."""
    figure = draw_truth(images)
    if figure is None:
        return Finding("data", "drawing", f"none of the first {LOOKED_AT} images can be used", "", "problem")
    content = BytesIO()
    figure.savefig(content, format="png", dpi=400)
    try:
        write_whole(path, content.getvalue())
    except OSError as error:
        return from_error("data", "drawing", error)
    return Finding("data", "drawing", f"{path} shows the first images with boxes and masks: look whether they fit")
