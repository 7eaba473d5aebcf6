"""Images of a page about an analysis: numbers of all of them, and of those that it draws pictures; their means."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attnlab.errors import UserError
from attnlab.records import rows_of
from attnlab.report.outcomes import GROUPS, Outcomes
from attnlab.report.page.choose import LARGE, choose
from attnlab.report.page.columns import Columns
from attnlab.report.page.images import MISCLASSIFIED, drawn_of, figures_of, numbers_of
from attnlab.report.page.pictures import LARGE_PAGE_BYTES, PAGE_BYTES, as_jpeg, fit
from attnlab.runs import Run
from attnlab.views import ReplayedImage, shown_channels

HIGHLIGHTS = 5  # how many numbers stand at the top of a page


@dataclass
class Gallery:
    """Images of a run.

    Attributes:
        columns: Numbers of every image with a record, or of those that were named.
        shown: Names of the images that are to be drawn, in the run's order.
        named: They were named.
        large: Images beside those are listed with their numbers; else all that can be seen again are drawn.
        images: Of each image that is drawn, what the page's script reads.
        pictures: Of each the clean thumbnail and one of each eps, spaces between; empty without pictures.
    """

    columns: Columns
    shown: Sequence[str] = ()
    named: bool = False
    large: bool = False
    images: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    channels: str = ""  # which channels of the images are shown, where there are more

    @property
    def unseen(self) -> list[str]:
        """Names of the images that were to be drawn, and of which there was no view."""
        drawn = {image["id"] for image in self.images}
        return [image_id for image_id in self.shown if image_id not in drawn]

    def highlights(self, index: int, outcomes: Outcomes) -> list[tuple[str, str]]:
        """Headline values at one eps, each with its name; means over the tables' images."""
        counts = self.columns.counts(index)
        correct = 100 - 100 * counts[MISCLASSIFIED] / max(1, len(self.columns.ids))
        changed = 100 * counts[GROUPS[0]] / max(1, sum(counts[group] for group in GROUPS))
        highlights = [
            (f"{correct:.1f} %", "of all images are classified correctly"),
            (f"{changed:.1f} %", outcomes.share),
        ]
        rows: dict[str, list[str]] = {}
        for figure in self.columns.figures:
            values = np.concatenate(list(self.columns.by_group(figure, index).values()))
            if figure.drawn and not np.isnan(values).all():
                rows.setdefault(figure.row, []).append(f"{np.nanmean(values):.3f}")
        for row, means in rows.items():
            highlights.append((" → ".join(means), f"{row}, clean {'→' if len(means) > 1 else '/'} adversarial"))
        return highlights[:HIGHLIGHTS]

    def draw(self, run: Run, views: Iterable[ReplayedImage] | None, progress: Callable[[int], None]) -> None:
        """Draw the images that are to be shown: with their pixels from views, or without, from the records alone."""
        manifest, figures = run.manifest, self.columns.figures
        count = len(self.shown) * (1 + len(manifest["options"]["eps"]))
        room = LARGE_PAGE_BYTES if self.large else PAGE_BYTES
        size, quality = fit(count, tuple(manifest["model"]["input_size"]), room)
        wanted = set(self.shown)
        records = rows_of(run, list(self.shown)) if views is None and wanted else ()
        try:
            for view in views or ():
                if view.record["image_id"] not in wanted:
                    continue
                self.images.append(numbers_of(view.record, manifest, figures) | drawn_of(view.record, manifest))
                pixels = (view.clean, *view.adversarial)
                self.channels = shown_channels(view.clean.shape[2])
                self.pictures.append(" ".join(as_jpeg(one, size, quality) for one in pixels))
                progress(1)
        except UserError as error:
            raise UserError(
                f"the images cannot be seen again: {error}; --root DIR says where data lies that was moved, "
                "--no-images makes a report without pictures"
            ) from None
        for record in records:
            self.images.append(numbers_of(record, manifest, figures) | drawn_of(record, manifest))


def read_gallery(run: Run, named: Collection[str] = ()) -> Gallery:
    """The numbers of an analysis' images, or of those that are named alone, and which its page draws: all, or some."""
    manifest = run.manifest
    columns = Columns(figures_of(manifest), len(manifest["options"]["eps"]))
    for record in rows_of(run, list(named) or None):
        columns.add(numbers_of(record, manifest, columns.figures))
    if missing := set(named).difference(columns.ids):
        raise UserError(f"{run.folder} has no record of image {min(missing)!r}")
    large = len(columns.ids) > LARGE and not named
    shown = [columns.ids[place] for place in choose(columns)] if large else columns.ids
    return Gallery(columns, shown, bool(named), large)
