"""All figures of a folder of results: an analysis, an evaluation, a sweep."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pandas as pd

from attnlab.errors import UserError
from attnlab.records import read_evaluation
from attnlab.report.base import data_of, with_names
from attnlab.report.figures.analysis import See, draw_analysis, unfinished
from attnlab.report.figures.curves import accuracy_against_steps, step_families
from attnlab.report.figures.drawing import Drawing, Drawn, LeftOut, draw
from attnlab.report.figures.sweep import figure8, read_sweep, sweep_grid, varied_weights
from attnlab.runs import Run
from attnlab.words import counted

SWEEP = "sweep.csv"


def draw_run(
    folder: Path,
    see: See,
    out: Path | None = None,
    only: Collection[str] = (),
    named: Sequence[str] = (),
    *,
    grid: bool = False,
) -> Drawn:
    """Draw what a folder comes to, by what it holds.

    Args:
        folder: Of a run of `analyze` or `evaluate`, or of a sweep, finished or not.
        see: Sees images of an analysis again.
        out: Where the files go; by default the folder's figures/.
        only: Names of figures; by default all that can be made.
        named: Names of the images of Figs. 1 and 3.
        grid: Draw the borders of the maps' cells.

    Raises:
        UserError: If the folder holds nothing of the kind, a name is unknown, or the files cannot be written.
    """
    if not folder.is_dir():
        raise UserError(f"expected an existing folder, got {str(folder)!r}")
    if (folder / SWEEP).is_file():
        return draw_sweep(read_sweep(folder / SWEEP), out or folder / "figures", str(folder), only)
    if not (folder / "run.json").is_file():
        raise UserError(
            f"expected {folder} to be a run, a sweep or a checkpoint, but it has no run.json, {SWEEP} or model.json"
        )
    if Run(folder).manifest["kind"] == "analyze":
        return draw_analysis(folder, see, out, only, named, grid=grid)
    return draw_evaluation(folder, out, only)


def draw_evaluation(folder: Path, out: Path | None = None, only: Collection[str] = ()) -> Drawn:
    """Draw accuracy against steps of a run of `evaluate`.

    Raises:
        UserError: As `draw`.
    """
    run = Run(folder)
    options = with_names(run.manifest)["options"]

    def against_steps(_notes: list[str]) -> Iterator[Drawing]:
        if not step_families(options["attacks"]):
            raise LeftOut("it needs an attack with several numbers of steps, such as --attacks pgd10,pgd40,pgd100")
        caption = (
            "Classification accuracy at the last point of each attack against its number of steps, with 95 % Wilson "
            f"intervals; dotted, without an attack; {data_of(options)}, {counted(options['images'], 'image')}."
        )
        figure = accuracy_against_steps(read_evaluation(folder), options["attacks"])
        yield Drawing("accuracy-against-steps", caption, figure)

    makers = {"accuracy-against-steps": against_steps}
    return draw(makers, out or folder / "figures", str(folder), only, unfinished(run))


def draw_sweep(table: pd.DataFrame, out: Path, what: str, only: Collection[str] = ()) -> Drawn:
    """Draw a sweep's table: Fig. 8, and the whole grid where both weights were varied.

    Args:
        table: See `figure8`.
        out: Where the files go.
        what: What is drawn, for errors.
        only: Names of figures; by default all that can be made.

    Raises:
        UserError: As `draw`.
    """

    def lines(_notes: list[str]) -> Iterator[Drawing]:
        if not len(table):
            raise LeftOut("no training of the sweep is finished")
        caption = (
            "Figure 8. Adversarial defense performance with different weights of the attention losses: accuracy on "
            "held-out images, clean (left axis) and under PGD with the training's budget (right axis), with 95 % "
            "Wilson intervals. The other weight is that of the training of the highest accuracy under PGD."
        )
        yield Drawing("figure8", caption, figure8(table))

    def both(_notes: list[str]) -> Iterator[Drawing]:
        if len(varied_weights(table)) < 2:
            raise LeftOut("it needs several --alphas and several --betas")
        caption = "Accuracy on held-out images over α and β, clean and under PGD with the training's budget."  # noqa: RUF001
        yield Drawing("sweep", caption, sweep_grid(table))

    return draw({"figure8": lines, "sweep": both}, out, what, only)
