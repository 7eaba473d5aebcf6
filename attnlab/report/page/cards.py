"""Cards of a page about an analysis: of each image figures from the records and pictures from views; their means."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnlab.errors import UserError
from attnlab.report.page.images import MISCLASSIFIED, Figure, describe, figures_of
from attnlab.report.page.pictures import as_jpeg, fit
from attnlab.report.tables import GROUPS
from attnlab.runs import Run
from attnlab.views import ReplayedImage

HIGHLIGHTS = 5  # how many numbers stand at the top of a page


class Gallery(NamedTuple):
    """All images of a run."""

    figures: list[Figure]  # which numbers each image has
    images: list[dict[str, Any]]  # of each what the page's script reads
    pictures: list[str]  # of each the clean thumbnail and one of each eps, spaces between; empty without pictures
    unseen: Sequence[dict[str, Any]] = ()  # as `images`, of those with a record and no view: they count unseen

    @property
    def counted(self) -> list[dict[str, Any]]:
        """Records that distributions and highlights are about: every image with one."""
        return [*self.images, *self.unseen]

    def values(self, figure: Figure, index: int) -> dict[str, np.ndarray]:
        """A figure's values in both groups at one eps, NaN where an image has none: group -> (n,)."""
        values: dict[str, np.ndarray] = {}
        for group in GROUPS:
            of_group = [image["values"][figure.key] for image in self.counted if image["groups"][index] == group]
            values[group] = np.array([value[index] if isinstance(value, list) else value for value in of_group], float)
        return values

    def highlights(self, index: int) -> list[tuple[str, str]]:
        """Headline values at one eps, each with its name; means over the tables' images."""
        groups = [image["groups"][index] for image in self.counted]
        counts = {group: groups.count(group) for group in (*GROUPS, MISCLASSIFIED)}
        correct = 100 - 100 * counts[MISCLASSIFIED] / max(1, len(groups))
        succeeded = 100 * counts[GROUPS[0]] / max(1, sum(counts[group] for group in GROUPS))
        highlights = [
            (f"{correct:.1f} %", "of all images are classified correctly"),
            (f"{succeeded:.1f} %", "of the tables' images change class under attack"),
        ]
        rows: dict[str, list[str]] = {}
        for figure in self.figures:
            values = np.concatenate(list(self.values(figure, index).values()))
            if figure.drawn and not np.isnan(values).all():
                rows.setdefault(figure.row, []).append(f"{np.nanmean(values):.3f}")
        for row, means in rows.items():
            highlights.append((" → ".join(means), f"{row}, clean {'→' if len(means) > 1 else '/'} adversarial"))
        return highlights[:HIGHLIGHTS]


def count_recorded(run: Run) -> int:
    """Number of images that have a record; a run without records is refused."""
    return int(run.table(["skipped"])["skipped"].null_count)


def collect(run: Run, views: Iterable[ReplayedImage] | None, progress: Callable[[int], None]) -> Gallery:
    """Go through an analysis' images with their pixels once; without views the gallery is of the records alone."""
    manifest = run.manifest
    figures = figures_of(manifest)
    count = count_recorded(run) * (1 + len(manifest["options"]["eps"]))
    size, quality = fit(count, tuple(manifest["model"]["input_size"]))
    images, pictures = [], []
    try:
        for view in views or ():
            images.append(describe(view.record, manifest, figures))
            pictures.append(" ".join(as_jpeg(pixels, size, quality) for pixels in (view.clean, *view.adversarial)))
            progress(1)
    except UserError as error:
        raise UserError(
            f"the images cannot be seen again: {error}; --root DIR says where data lies that was moved, "
            "--no-images makes a report without pictures"
        ) from None
    seen = {image["id"] for image in images}
    records = [row for row in run.table().to_pylist() if row["skipped"] is None and row["image_id"] not in seen]
    unseen = [describe(row, manifest, figures) for row in records]
    return Gallery(figures, unseen, []) if views is None else Gallery(figures, images, pictures, unseen)
