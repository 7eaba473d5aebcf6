"""`attnlab figures`."""

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import click

from attnlab.config.names import by_data
from attnlab.errors import printable
from attnlab.report.figures import FIGURES, SOURCES, figures_of, source_of

from .completion import a_length, a_split, attacks, lists_of, names_of, one_of
from .options import DEVICE, NORMALISATION, TRUST, names

if TYPE_CHECKING:
    from attnlab.report.figures.drawing import Drawn


def _table() -> str:
    """Of each source the figures that are drawn of it."""
    lines = []
    for source, source_words in SOURCES.items():
        specs = {name: spec for name, spec in FIGURES.items() if spec.of == source}
        told = {
            name: "; ".join(filter(None, (spec.title, spec.needs and f"needs {spec.needs}")))
            for name, spec in specs.items()
        }
        text = ", ".join(name + (f" ({words})" if words else "") for name, words in told.items())
        lines.append(fill(text, 106, initial_indent=f"{source_words:<17}", subsequent_indent=" " * 17))
    return "\n".join(lines)


HELP = f"""Draw the paper's figures of a RUN or of CHECKPOINTS, as PNG and PDF with their captions.

\b
{_table()}

The first of several checkpoints is the undefended one. No image is picked by hand: Figs. 1 and 3 show, of each group,
the image whose IoU with the boxes is the group's median, Fig. 13 the most scattered maps and the lowest IoUs at a
confidence of 0.9 or more, the others images of typical confidence. Each caption says so.

\b
attnlab figures runs/imagenet-val-inception_v3 --only figure1 --images ILSVRC2012_val_00000001 --grid
attnlab figures runs/none runs/madry runs/aad --data cifar10 --root DIR
"""


@click.command(help=HELP)
@click.argument("places", metavar="RUN|CHECKPOINTS...", nargs=-1, required=True)
@click.option(
    "--only",
    default="",
    shell_complete=lists_of("figures"),
    callback=names,
    metavar="NAME,...",
    help="Figures to draw; by default all.",
)
@click.option(
    "--images",
    default="",
    callback=names,
    metavar="ID,...",
    help="Ids of the images to show, in place of those that the rules choose.",
)
@click.option(
    "--grid", is_flag=True, help="Draw the borders of the maps' cells, which show the attention layer's resolution."
)
@click.option(
    "--overlays",
    is_flag=True,
    help="For a run of `analyze`: also write each image with its maps drawn over it, as overlays/ID-*.png.",
)
@click.option(
    "--data",
    is_eager=True,
    default="scenes",
    show_default=True,
    shell_complete=names_of("data"),
    callback=one_of("data"),
    help="For checkpoints: data set of the images to show.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder of the data set's files; by default where the run found them.",
)
@click.option(
    "--split",
    shell_complete=names_of("splits"),
    callback=a_split,
    help=f"For checkpoints: split of the data set; by default {by_data(lambda spec: spec.accuracy_split)}.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="For checkpoints: number of images that the rules choose from.",
)
@click.option(
    "--attack",
    default="pgd",
    show_default=True,
    shell_complete=names_of("attacks"),
    callback=attacks(others=False),
    help="For checkpoints: attack of Figs. 6, 7, 9, 10 and 11.",
)
@click.option("--eps", callback=a_length("eps"), help="For checkpoints: L-infinity budget, as for `evaluate`.")
@click.option("--steps", type=int, help="For checkpoints: number of steps of --attack, as for `evaluate`.")
@click.option(
    "--step-size",
    callback=a_length("--step-size"),
    help="For checkpoints: length of the steps, as for `evaluate`; of Figs. 2 and 12 too.",
)
@NORMALISATION[0]
@NORMALISATION[1]
@TRUST
@DEVICE
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder to write to; by default figures/ in the run or the first checkpoint.",
)
def figures(
    places: tuple[str, ...], only: list[str], images: list[str], overlays: bool, out: Path | None, **options: Any
) -> None:
    """Draw the figures of a run, a sweep or checkpoints."""
    source = source_of(places)
    names = figures_of(source, only, ", ".join(places))  # before anything is loaded
    if source.startswith("checkpoint"):
        _of_checkpoints(places, names, images, out, only=only, **options)
    else:
        _of_run(Path(places[0]), images, out, only=only, overlays=overlays, **options)


def _of_checkpoints(
    places: tuple[str, ...],
    names: list[str],
    images: list[str],
    out: Path | None,
    *,
    only: list[str],
    grid: bool,
    **options: Any,
) -> None:
    from attnlab.pipelines.comparison_examples import examples
    from attnlab.pipelines.model_comparison import open_comparison
    from attnlab.report.figures.drawing import draw

    models = open_comparison(places, named=images, **options)
    inputs = examples(models, [(FIGURES[name].choice, FIGURES[name].count) for name in names])
    figures = zip(names, inputs, strict=True)
    _say(draw(figures, out or models.folder, ", ".join(models.names), only, grid=grid))


def _of_run(
    run: Path, images: list[str], out: Path | None, *, only: list[str], grid: bool, overlays: bool, **options: Any
) -> None:
    from attnlab.report.figures.drawing import NothingDrawn
    from attnlab.report.figures.run import draw_run, plan_figures

    plan = plan_figures(run, only, images)
    from attnlab.pipelines.defaults import reading_processes
    from attnlab.pipelines.replay import replay
    from attnlab.report.figures.overlays import write_overlays

    again = {name: options[name] for name in ("root", "device", "trust_code")}
    try:
        _say(draw_run(plan, replay(run, plan.image_ids, **again), out, grid=grid))
    except NothingDrawn as none:
        if not overlays:
            raise
        click.echo(printable(str(none)))
    if overlays:
        count = write_overlays(run, replay(run, images or None, **again), out, grid=grid, workers=reading_processes())
        click.echo(f"{out or run / 'figures'}/overlays: {count} pictures")


def _say(drawn: "Drawn") -> None:
    for note in drawn.notes:
        click.echo(printable(note))
    click.echo(f"{drawn.folder}: {', '.join(drawn.captions)}; each as .png, .pdf and, its caption, .txt")
