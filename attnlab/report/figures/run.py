"""Figures of a folder: of a run of `analyze` or `evaluate`, or of a sweep, finished or not."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from attnlab.errors import UserError
from attnlab.kept_maps import grid_of
from attnlab.report.description import Manifest, about_method, shown_method, with_names
from attnlab.report.figures import FIGURES, SWEEP, figures_of, source_of
from attnlab.report.figures.analysis import Analysis, Choice, eps_parts, method_parts
from attnlab.report.figures.choose import CHOICES, scatters
from attnlab.report.figures.curves import compared_cells
from attnlab.report.figures.drawing import Drawn, Inputs, Numbers, draw
from attnlab.report.figures.sweep import read_sweep
from attnlab.report.tables.iou import cell_ious
from attnlab.report.tables.sources import numbers, records_of_models
from attnlab.runs import Run
from attnlab.views import LeftOut, ReplayedImage
from attnlab.words import counted

#: what a figure is to be drawn of, by part; images are still to be read again
Chosen = Mapping[str, Choice | Numbers] | LeftOut
ImagesOf = Callable[[list[str]], Iterable[ReplayedImage]]  # reads images of an analysis again, by their names


def draw_run(
    folder: Path,
    images_of: ImagesOf = lambda names: (),
    only: Collection[str] = (),
    named: Sequence[str] = (),
    out: Path | None = None,
    *,
    grid: bool = False,
) -> Drawn:
    """Draw the figures of a folder, or `only` some, into `out`, by default its figures/; errors as of `draw`.

    `images_of`, such as `replay` of this folder, is asked for the images that figures show; where they cannot be had,
    these figures are left out. Figs. 1 and 3 show the images that are `named`, by default those that `choose.typical`
    chooses.
    """
    if not folder.is_dir():
        raise UserError(f"expected an existing folder, got {str(folder)!r}")
    source = source_of([str(folder)])
    names = figures_of(source, only, str(folder))
    run = None if source == "sweep" else Run(folder)
    manifest = with_names(run.manifest) if run else {}
    inputs: Mapping[str, Inputs]
    if source == "analyze":
        analyses = {
            part: Analysis(about, _numbers(folder, about), named)
            for part, method in method_parts(manifest).items()
            for about in [about_method(manifest, method)]
        }
        inputs = _of_analysis(names, analyses, folder, images_of)
    else:
        frame = records_of_models(run, manifest["options"]["models"]) if run else read_sweep(folder / SWEEP)
        inputs = {name: {"": (frame, manifest)} for name in names}
    unfinished = _unfinished(run) if run else ""
    return draw(inputs.items(), out or folder / "figures", str(folder), only, unfinished, grid=grid)


def _numbers(folder: Path, manifest: Manifest) -> pd.DataFrame:
    """Numbers of an analysis' records for the method it is about, and what its figures make of maps."""
    method = shown_method(manifest)
    if not method:
        return numbers(Run(folder), manifest["data"]["has_boxes"])
    shape, cells = grid_of(manifest["model"]["map_shape"]), [compared_cells(manifest)]
    measures = [partial(scatters, shape=shape), partial(cell_ious, cells=cells)]
    return numbers(Run(folder), manifest["data"]["has_boxes"], measures, method)


def _of_analysis(
    names: list[str], analyses: Mapping[str, Analysis], folder: Path, images_of: ImagesOf
) -> dict[str, Inputs]:
    """What figures of a run are drawn of; an analysis for each method that maps, by what its files' names end in."""
    first = next(iter(analyses.values()))
    unknown = [name for name in first.named if name not in set(first.records["image_id"])]
    if unknown:
        raise UserError(f"{folder} has no record of image {unknown[0]!r}")
    chosen = {
        name: {part: _choose(name, one) for part, one in analyses.items()}
        if FIGURES[name].each_method
        else {"": _choose(name, first)}
        for name in names
    }
    data = [one for of_method in chosen.values() for parts in of_method.values() for one in _data(parts)]
    groups = [group for choice in data if isinstance(choice, Choice) for group in choice.groups]
    shown = list(dict.fromkeys(image_id for _, image_ids in groups for image_id in image_ids))
    images: dict[str, ReplayedImage] | LeftOut = {}
    try:
        images = {image.record["image_id"]: image for image in images_of(shown)} if shown else {}
    except UserError as error:
        images = LeftOut(str(error))
    return {
        name: _together({part: _with_images(parts, images, analyses.get(part, first)) for part, parts in each.items()})
        for name, each in chosen.items()
    }


def _data(chosen: Chosen) -> list[Choice | Numbers]:
    return [] if isinstance(chosen, LeftOut) else list(chosen.values())


def _together(of_methods: Mapping[str, Inputs]) -> Inputs:
    """What a figure is drawn of for each method, in one; where it can be drawn for none, why of the first."""
    drawn = {method: parts for method, parts in of_methods.items() if not isinstance(parts, LeftOut)}
    if not drawn:
        return next(iter(of_methods.values()))
    return {
        "-".join(filter(None, (method, part))): data for method, parts in drawn.items() for part, data in parts.items()
    }


def _choose(name: str, analysis: Analysis) -> Chosen:
    spec = FIGURES[name]
    parts = eps_parts(analysis.manifest["options"]["eps"]) if spec.each_eps else {"": None}
    try:
        if spec.choice:
            return {part: CHOICES[spec.choice](analysis, eps, spec.count) for part, eps in parts.items()}
        return {part: (analysis.images(eps=eps), analysis.at(eps)) for part, eps in parts.items()}
    except LeftOut as reason:
        return reason


def _with_images(chosen: Chosen, images: Mapping[str, ReplayedImage] | LeftOut, analysis: Analysis) -> Inputs:
    if isinstance(chosen, LeftOut):
        return chosen
    try:
        return {
            part: data.examples(images, analysis.manifest) if isinstance(data, Choice) else data
            for part, data in chosen.items()
        }
    except LeftOut as reason:
        return reason


def _unfinished(run: Run) -> str:
    """How far a run has come; empty if it is finished."""
    if run.manifest["finished"] is not None:
        return ""
    models = run.manifest["options"].get("order", [""])
    done = sum(map(len, run.parts(["image_id"])))
    return f"{done} of {counted(run.manifest['options']['images'] * len(models), 'image')}"
