"""The figures of a folder of results: of an analysis, an evaluation, a sweep."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attnlab.errors import UserError
from attnlab.records import read_evaluation, read_records
from attnlab.report.description import Manifest, with_names
from attnlab.report.figures import FIGURES, SWEEP, FigureSpec, figures_of, source_of
from attnlab.report.figures.analysis import Analysis, Choice, eps_parts
from attnlab.report.figures.choose import CHOICES
from attnlab.report.figures.drawing import Drawn, Inputs, Numbers, draw
from attnlab.report.figures.sweep import read_sweep
from attnlab.runs import Run
from attnlab.views import LeftOut, ReplayedImage
from attnlab.words import counted

#: what a figure is to be drawn of, by part; images are still to be read again
Chosen = Mapping[str, Choice | Numbers] | LeftOut


@dataclass(frozen=True)
class Plan:
    """Figures of a folder that are to be drawn.

    Attributes:
        folder: Of the results.
        manifest: Of the run, with names; empty for a sweep.
        figures: Name of each figure -> what it is to be drawn of.
        only: Names of figures that must not be left out.
        unfinished: How far the run has come; empty if it is finished.
    """

    folder: Path
    manifest: Manifest = field(repr=False)
    figures: Mapping[str, Chosen] = field(repr=False)
    only: Collection[str] = ()
    unfinished: str = ""

    @property
    def image_ids(self) -> list[str]:
        """Names of the images that the figures show: `attnlab.pipelines.replay.replay` reads them again."""
        parts = [
            part for chosen in self.figures.values() if not isinstance(chosen, LeftOut) for part in chosen.values()
        ]
        choices = [part for part in parts if isinstance(part, Choice)]
        return list(dict.fromkeys(name for choice in choices for _, names in choice.groups for name in names))


def plan_figures(folder: Path, only: Collection[str] = (), named: Sequence[str] = ()) -> Plan:
    """Choose what the figures of a folder are drawn of, by what it holds.

    Args:
        folder: Of a run of `analyze` or `evaluate`, or of a sweep, finished or not.
        only: Names of figures; by default all that can be made.
        named: Names of the images of Figs. 1 and 3; by default chosen by `choose.typical`.

    Raises:
        UserError: If the folder holds nothing of the kind, no records, or a figure or an image is unknown.
    """
    if not folder.is_dir():
        raise UserError(f"expected an existing folder, got {str(folder)!r}")
    source = source_of([str(folder)])
    names = figures_of(source, only, str(folder))
    if source == "sweep":
        table: Numbers = read_sweep(folder / SWEEP), {}
        return Plan(folder, {}, {name: {"": table} for name in names}, only)
    run = Run(folder)
    manifest = with_names(run.manifest)
    if source == "evaluate":
        answers = (read_evaluation(folder), manifest)
        return Plan(folder, manifest, {name: {"": answers} for name in names}, only, unfinished(run))
    analysis = Analysis(manifest, read_records(folder), named)
    unknown = [name for name in named if name not in set(analysis.records["image_id"])]
    if unknown:
        raise UserError(f"{folder} has no record of image {unknown[0]!r}")
    chosen = {name: _chosen(FIGURES[name], analysis) for name in names}
    return Plan(folder, manifest, chosen, only, unfinished(run))


def draw_run(plan: Plan, images: Iterable[ReplayedImage] = (), out: Path | None = None, *, grid: bool = False) -> Drawn:
    """Draw what is planned.

    Args:
        plan: As `plan_figures` makes it.
        images: Those that the figures show, read again, such as `replay(folder, plan.image_ids)`, which is not begun
            where they show none. Where images cannot be had, the figures that show some are left out.
        out: Where the files go; by default the folder's figures/.
        grid: Draw the borders of the maps' cells.

    Raises:
        UserError: As `draw`.
    """
    found: dict[str, ReplayedImage] | LeftOut = {}
    if plan.image_ids:
        try:
            found = {image.record["image_id"]: image for image in images}
        except UserError as error:
            found = LeftOut(str(error))
    figures = ((name, _inputs(chosen, found, plan.manifest)) for name, chosen in plan.figures.items())
    return draw(figures, out or plan.folder / "figures", str(plan.folder), plan.only, plan.unfinished, grid=grid)


def _chosen(spec: FigureSpec, analysis: Analysis) -> Chosen:
    """What a figure of an analysis is to be drawn of."""
    parts = eps_parts(analysis.manifest["options"]["eps"]) if spec.each_eps else {"": None}
    try:
        if spec.choice:
            return {part: CHOICES[spec.choice](analysis, eps, spec.count) for part, eps in parts.items()}
        return {part: (analysis.images(eps=eps), analysis.at(eps)) for part, eps in parts.items()}
    except LeftOut as reason:
        return reason


def _inputs(chosen: Chosen, found: Mapping[str, ReplayedImage] | LeftOut, manifest: Manifest) -> Inputs:
    """The same with the images that were read again."""
    if isinstance(chosen, LeftOut):
        return chosen
    try:
        return {
            part: data.examples(found, manifest) if isinstance(data, Choice) else data for part, data in chosen.items()
        }
    except LeftOut as reason:
        return reason


def unfinished(run: Run) -> str:
    """How far a run has come; empty if it is finished."""
    if run.manifest["finished"] is not None:
        return ""
    models = run.manifest["options"].get("order", [""])
    done = len(run.table(["image_id"]))
    return f"{done} of {counted(run.manifest['options']['images'] * len(models), 'image')}"
