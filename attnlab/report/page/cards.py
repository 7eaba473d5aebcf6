"""What a page shows of each image of an analysis: its figures from the records, its pictures from views."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnlab.errors import UserError
from attnlab.report.page.images import MISCLASSIFIED, Figure, Record, describe, figures_of
from attnlab.report.page.pictures import as_jpeg, fit
from attnlab.report.tables import GROUPS
from attnlab.runs import Run
from attnlab.views import ReplayedImage

#: how many numbers stand at the top of a page
HIGHLIGHTS = 5


class Gallery(NamedTuple):
    """All images of a run.

    Attributes:
        figures: Which numbers each image has.
        images: Of each image what the page's script reads.
        pictures: Of each image its thumbnails, the clean one and one of each eps, with spaces between them; empty
            where the page has no pictures.
        unseen: Of each image that has a record and no view the same as in `images`: it counts, and is not shown.
    """

    figures: list[Figure]
    images: list[dict[str, Any]]
    pictures: list[str]
    unseen: Sequence[dict[str, Any]] = ()

    @property
    def counted(self) -> list[dict[str, Any]]:
        """What distributions and highlights are of: every image with a record."""
        return [*self.images, *self.unseen]


def recorded(run: Run) -> list[Record]:
    """Rows of the images that have a record.

    Raises:
        UserError: If there are none.
    """
    rows: list[Record] = [row for row in run.table().to_pylist() if row["skipped"] is None]
    return rows


def count_recorded(run: Run) -> int:
    """Number of images that have a record.

    Raises:
        UserError: If there are no records yet.
    """
    return int(run.table(["skipped"])["skipped"].null_count)


def collect(run: Run, views: Iterable[ReplayedImage] | None, progress: Callable[[int], None]) -> Gallery:
    """Go through a run's images once.

    Args:
        run: An analysis, finished or not.
        views: Its images with their pixels; None for a gallery of records alone.
        progress: Told the number of images newly done.

    Raises:
        UserError: If the views cannot be had.
    """
    manifest = run.manifest
    figures = figures_of(manifest)
    if views is None:
        return Gallery(figures, [describe(row, manifest, figures) for row in recorded(run)], [])
    images, pictures = [], []
    count = count_recorded(run) * (1 + len(manifest["options"]["eps"]))
    size, quality = fit(count, tuple(manifest["model"]["input_size"]))
    try:
        for view in views:
            images.append(describe(view.record, manifest, figures))
            pictures.append(" ".join(as_jpeg(one, size, quality) for one in (view.clean, *view.adversarial)))
            progress(1)
    except UserError as error:
        raise UserError(
            f"the images cannot be seen again: {error}; --root DIR says where data lies that was moved, "
            "--no-images makes a report without pictures"
        ) from None
    seen = {image["id"] for image in images}
    unseen = [describe(row, manifest, figures) for row in recorded(run) if row["image_id"] not in seen]
    return Gallery(figures, images, pictures, unseen)


def values_of(figure: Figure, gallery: Gallery, place: int) -> dict[str, np.ndarray]:
    """A figure's values in both groups at one eps, NaN where an image has none: group -> (n,)."""
    values: dict[str, np.ndarray] = {}
    for group in GROUPS:
        mine = [image["values"][figure.key] for image in gallery.counted if image["groups"][place] == group]
        values[group] = np.array([value[place] if isinstance(value, list) else value for value in mine], float)
    return values


def highlights(gallery: Gallery, place: int) -> list[tuple[str, str]]:
    """What a reader wants to know first, at one eps: values and what they are; means over the tables' images."""
    groups = [image["groups"][place] for image in gallery.counted]
    counts = {group: groups.count(group) for group in (*GROUPS, MISCLASSIFIED)}
    used = max(1, sum(counts[group] for group in GROUPS))
    told = [
        (f"{100 - 100 * counts[MISCLASSIFIED] / max(1, len(groups)):.1f} %", "of all images are classified correctly"),
        (f"{100 * counts[GROUPS[0]] / used:.1f} %", "of the tables' images change class under attack"),
    ]
    rows: dict[str, list[str]] = {}
    for figure in gallery.figures:
        values = np.concatenate(list(values_of(figure, gallery, place).values()))
        if figure.drawn and not np.isnan(values).all():
            rows.setdefault(figure.row, []).append(f"{np.nanmean(values):.3f}")
    for row, means in rows.items():
        told.append((" → ".join(means), f"{row}, clean {'→' if len(means) > 1 else '/'} adversarial"))
    return told[:HIGHLIGHTS]
