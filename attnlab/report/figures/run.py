"""Figures of a folder: of a run of `analyze` or `evaluate`, or of a sweep, finished or not."""

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
    """Figures of a folder that are to be drawn, by name, and what each is to be drawn of."""

    folder: Path
    manifest: Manifest = field(repr=False)  # of the run, with names; empty for a sweep
    figures: Mapping[str, Chosen] = field(repr=False)
    only: Collection[str] = ()  # names of figures that must not be left out
    unfinished: str = ""  # how far the run has come; empty if it is finished

    @property
    def image_ids(self) -> list[str]:
        """Names of the images that the figures show: `attnlab.pipelines.replay.replay` reads them again."""
        chosen = [parts for parts in self.figures.values() if not isinstance(parts, LeftOut)]
        choices = [choice for parts in chosen for choice in parts.values() if isinstance(choice, Choice)]
        return list(dict.fromkeys(name for choice in choices for _, names in choice.groups for name in names))


def plan_figures(folder: Path, only: Collection[str] = (), named: Sequence[str] = ()) -> Plan:
    """Choose what the figures of a folder are drawn of, by what it holds.

    Args:
        folder: Of the run or the sweep.
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
        records: Numbers = read_evaluation(folder), manifest
        return Plan(folder, manifest, {name: {"": records} for name in names}, only, _unfinished(run))
    analysis = Analysis(manifest, read_records(folder), named)
    unknown = [name for name in named if name not in set(analysis.records["image_id"])]
    if unknown:
        raise UserError(f"{folder} has no record of image {unknown[0]!r}")
    chosen = {name: _chosen(FIGURES[name], analysis) for name in names}
    return Plan(folder, manifest, chosen, only, _unfinished(run))


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
    replayed: dict[str, ReplayedImage] | LeftOut = {}
    if plan.image_ids:
        try:
            replayed = {image.record["image_id"]: image for image in images}
        except UserError as error:
            replayed = LeftOut(str(error))
    figures = ((name, _inputs(chosen, replayed, plan.manifest)) for name, chosen in plan.figures.items())
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


def _inputs(chosen: Chosen, replayed: Mapping[str, ReplayedImage] | LeftOut, manifest: Manifest) -> Inputs:
    """The same with the images that were read again."""
    if isinstance(chosen, LeftOut):
        return chosen
    try:
        return {part: of.examples(replayed, manifest) if isinstance(of, Choice) else of for part, of in chosen.items()}
    except LeftOut as reason:
        return reason


def _unfinished(run: Run) -> str:
    """How far a run has come; empty if it is finished."""
    if run.manifest["finished"] is not None:
        return ""
    models = run.manifest["options"].get("order", [""])
    done = len(run.table(["image_id"]))
    return f"{done} of {counted(run.manifest['options']['images'] * len(models), 'image')}"
