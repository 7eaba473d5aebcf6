"""A run as one page that opens anywhere: report.html, which needs no network, no server and no other file."""

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from attnlab.errors import UserError
from attnlab.files import write_whole
from attnlab.manifests import command_of
from attnlab.records import skipped_images
from attnlab.report.description import title, with_names
from attnlab.report.page.about import facts
from attnlab.report.page.cards import Gallery, collect, count_recorded
from attnlab.report.page.charts import interval, of_attacks, of_figures
from attnlab.report.tables import GROUPS, TABLES
from attnlab.report.tables.export import make_tables
from attnlab.runs import Run
from attnlab.views import ReplayedImage
from attnlab.words import as_fraction


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
            pictures. They are not asked for where the run is an evaluation.
        out: File to write; by default report.html in the run's folder.
        progress: Called with the number of images newly done.

    Returns:
        The file.

    Raises:
        UserError: If the folder holds no readable run, the views cannot be had, or the file cannot be written.
    """
    run = Run(folder)
    path = out or folder / "report.html"
    report = make_tables(run)
    _check_writable(path)
    manifest = with_names(run.manifest)
    analysis = manifest["kind"] == "analyze"
    gallery = collect(run, views, progress) if analysis else Gallery([], [], [])
    budgets = [as_fraction(eps) for eps in manifest["options"]["eps"]] if analysis else []
    indices = range(len(budgets) if gallery.counted else 0)
    distributions = [of_figures(gallery, index) for index in indices] if analysis else [of_attacks(run)]
    content = _template().render(
        title=title(manifest),
        kind=manifest["kind"],
        unfinished=manifest["finished"] is None,
        command=command_of(manifest),
        facts=facts(manifest),
        summary=report.summary,
        manifest=json.dumps(run.manifest, indent=2),
        tables=[
            (name, TABLES[name], TABLES[name].lay_out(frame, "page"), report.captions[name])
            for name, frame in report.frames.items()
        ],
        groups=GROUPS,
        interval=interval,
        budgets=budgets,
        highlights=[gallery.highlights(index) for index in indices],
        distributions=[charts for charts in distributions if charts],
        skipped=skipped_images(run),
        gallery=gallery,
        data=_data(gallery, manifest, budgets),
        **_inlined(),
    )
    write_whole(path, content.encode())
    return path


def images_shown(folder: Path) -> int:
    """Number of images a page of that run shows: those with a record, of an evaluation none."""
    run = Run(folder)
    return count_recorded(run) if run.manifest["kind"] == "analyze" else 0


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
    """Data for the page's script."""
    model = manifest["model"]
    with_lime = "lime" in manifest["options"].get("methods", [])
    return {
        "eps": budgets,
        "classes": manifest["data"]["classes"],
        "size": model.get("input_size"),
        "map_shape": model.get("map_shape"),
        "superpixels": manifest["features"][0] if with_lime else None,
        "figures": [{**figure._asdict(), "name": figure.name} for figure in gallery.figures],
        "images": gallery.images,
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
