"""A run as one page that opens anywhere: report.html, which needs no network, no server and no other file."""

import base64
import hashlib
import json
import shlex
import tempfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from attnlab.errors import UserError
from attnlab.files import write_whole
from attnlab.kept_maps import grid_of
from attnlab.manifests import command_of, map_methods
from attnlab.records import skipped_images
from attnlab.report.description import class_names, outcomes_of, title, with_names
from attnlab.report.outcomes import GROUPS
from attnlab.report.page.about import facts
from attnlab.report.page.cards import Gallery, read_gallery
from attnlab.report.page.charts import interval, of_attacks, of_figures
from attnlab.report.page.choose import rule
from attnlab.report.page.columns import Columns
from attnlab.report.tables import TABLES
from attnlab.report.tables.export import make_tables
from attnlab.report.tables.formats import Report
from attnlab.runs import Run
from attnlab.views import ReplayedImage
from attnlab.words import as_fraction, counted

SKIPPED_SHOWN = 2_000  # lines of the table of skipped images; skipped.csv holds all


def write_report(
    folder: Path,
    views: Iterable[ReplayedImage] | None = None,
    out: Path | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Path:
    """Write a run's page.

    Args:
        folder: A run of `analyze` or `evaluate`, finished or not; the page of an unfinished one says so.
        views: The images of an analysis, as `attnlab.pipelines.replay.replay` yields them; None for a page without
            pictures. They are not asked for where the run is an evaluation, and those that the page of a large run does
            not draw are left out; `open_page` says beforehand which these are.
        out: File to write; by default report.html in the run's folder.
        progress: Called with the number of images newly done.

    Returns:
        The file.

    Raises:
        UserError: If the folder holds no readable run, the views cannot be had, or the file cannot be written.
    """
    return open_page(folder, out).write(views, progress)


@dataclass(frozen=True)
class Page:
    """A page that is ready to be written.

    Attributes:
        run: What it is of.
        path: The file.
        report: Tables of the run and lines about it; no tables on a page of named images.
        gallery: Images; of an evaluation none.
        called: The run as commands name it.
    """

    run: Run
    path: Path
    report: Report
    gallery: Gallery
    called: str

    @property
    def shown(self) -> list[str]:
        """Names of the images that it draws; `replay` can be asked for these alone."""
        return list(self.gallery.shown)

    def write(
        self, views: Iterable[ReplayedImage] | None = None, progress: Callable[[int], None] = lambda count: None
    ) -> Path:
        """Write the page; arguments, result and errors as of `write_report`."""
        run, gallery, manifest = self.run, self.gallery, with_names(self.run.manifest)
        analysis, outcomes = manifest["kind"] == "analyze", outcomes_of(manifest)
        if analysis:
            gallery.draw(run, views, progress)
        budgets = [as_fraction(eps) for eps in manifest["options"]["eps"]] if analysis else []
        indices = range(len(budgets) if gallery.columns.ids and not gallery.named else 0)
        distributions = (
            [of_figures(gallery.columns, index, outcomes) for index in indices] if analysis else [of_attacks(run)]
        )
        content = _template().render(
            title=title(manifest),
            kind=manifest["kind"],
            unfinished=manifest["finished"] is None,
            command=command_of(manifest),
            facts=facts(manifest),
            summary=self.report.summary,
            manifest=json.dumps(run.manifest, indent=2),
            tables=[
                (name, TABLES[name], self.report.lay_out(name, "page"), self.report.captions[name])
                for name in self.report.frames
            ],
            outcomes=outcomes,
            groups=GROUPS,
            interval=interval,
            budgets=budgets,
            highlights=[gallery.highlights(index, outcomes) for index in indices],
            distributions=[charts for charts in distributions if charts],
            skipped=[] if gallery.named else skipped_images(run),
            most_skipped=SKIPPED_SHOWN,
            gallery=gallery,
            rule=rule(gallery.columns, budgets) if gallery.large else "",
            draw=shlex.join(["attnlab", "report", self.called, "--images"]),
            data=_data(gallery, manifest, budgets),
            **_inlined(),
        )
        write_whole(self.path, content.encode())
        return self.path


def open_page(folder: Path, out: Path | None = None, images: Collection[str] = (), called: object = None) -> Page:
    """Read a run for its page, report.html, or for one of some of an analysis' images alone, report-images.html.

    Args:
        folder: As of `write_report`.
        out: File to write, in place of these.
        images: Names of images to draw, with nothing else of the run beside them; empty for the page of the run.
        called: Path or URL by which commands on the page name the run; by default the folder.

    Raises:
        UserError: If the folder holds no readable run, an image has no record, or the file cannot be written.
    """
    run = Run(folder)
    path = out or folder / ("report-images.html" if images else "report.html")
    kind = run.manifest["kind"]
    if images and kind != "analyze":
        raise UserError(f"expected a run of `analyze` for --images, got {folder}, one of `{kind}`")
    report = Report([], {}, {}) if images else make_tables(run)
    _check_writable(path)
    gallery = read_gallery(run, images) if kind == "analyze" else Gallery(Columns([], 0))
    if images:
        count = counted(len(gallery.shown), "image")
        report.summary.append(
            f"{count}, as named; the page of the whole run is another: attnlab report {called or folder}"
        )
    return Page(run, path, report, gallery, str(called or folder))


def _check_writable(path: Path) -> None:
    """Find out before the long work whether the file can be written."""
    if path.is_dir():
        raise UserError(f"expected --out to be a file, got the folder {path}; did you mean {path / 'report.html'}?")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; --out FILE puts the report elsewhere") from None


def _data(gallery: Gallery, manifest: dict[str, Any], budgets: list[str]) -> dict[str, Any]:
    """Data for the page's script; of a large run all numbers as columns, and the place of each image that is drawn."""
    model, methods = manifest["model"], map_methods(manifest)
    with_lime = "lime" in manifest["options"].get("methods", [])
    places = {image_id: place for place, image_id in enumerate(gallery.columns.ids)} if gallery.large else {}
    return {
        "eps": budgets,
        "outcomes": {group: outcomes_of(manifest).word(group) for group in GROUPS},
        "classes": class_names(manifest),
        "size": model.get("input_size"),
        "map_shape": grid_of(model["map_shape"]) if methods else None,
        "methods": methods if methods[1:] else [],
        "at_pixels": [method for method in methods if manifest.get("resolutions", {}).get(method) == "pixels"],
        "superpixels": manifest["features"][0] if with_lime else None,
        "figures": [{**figure._asdict(), "name": figure.name} for figure in gallery.columns.figures],
        "images": gallery.images,
        **({"columns": gallery.columns.packed()} if gallery.large else {}),
        **({"places": [places[image["id"]] for image in gallery.images]} if gallery.large else {}),
    }


@cache
def _template() -> Template:
    loader = PackageLoader("attnlab.report.page")
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return page.get_template("report.html")


def _inlined() -> dict[str, Markup]:
    """Style and script as they stand in the package, and the script's hash: the page lets no other script run."""
    here = files("attnlab.report.page").joinpath("templates")
    style, script = (here.joinpath(name).read_text("utf-8") for name in ("report.css", "report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"style": Markup(style), "script": Markup(script), "script_hash": Markup(digest)}
