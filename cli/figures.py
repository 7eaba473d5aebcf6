"""`attnlab figures`."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import click

from attnlab.config import FiguresConfig
from attnlab.errors import UserError, printable
from attnlab.report.figures import FIGURES, SOURCES, figures_of, source_of
from attnlab.stores import as_folder, check_out, is_elsewhere, parse_root

from .from_config import options_of

if TYPE_CHECKING:
    from attnlab.report.figures.drawing import Drawn
    from attnlab.views import ReplayedImage


def _table() -> str:
    """Of each source the figures that are drawn of it."""
    lines = []
    for source, source_words in SOURCES.items():
        specs = {name: spec for name, spec in FIGURES.items() if spec.of == source}
        texts = {
            name: "; ".join(filter(None, (spec.title, spec.needs and f"needs {spec.needs}")))
            for name, spec in specs.items()
        }
        text = ", ".join(name + (f" ({words})" if words else "") for name, words in texts.items())
        head = f"{source_words:<17}"
        lines.append(fill(text, 106, initial_indent=head, subsequent_indent=" " * 17, break_on_hyphens=False))
    return "\n".join(lines)


HELP = f"""Draw the paper's figures of a RUN or of CHECKPOINTS, as PNG and PDF with their captions.

\b
{_table()}

The first of several checkpoints is the undefended one. No image is picked by hand: Figs. 1 and 3 show, of each group,
the image whose IoU with the ground truth is the group's median, Fig. 13 the most scattered maps and the lowest IoUs at
a confidence of 0.9 or more, the others images of typical confidence. Each caption says so.

\b
attnlab figures runs/imagenet-val-inception_v3 --only figure1 --images ILSVRC2012_val_00000001 --grid
attnlab figures runs/none runs/madry runs/aad --data cifar10 --root DIR
"""


@click.command(help=HELP)
@click.argument("places", metavar="RUN|CHECKPOINTS...", nargs=-1, required=True)
@options_of(FiguresConfig)
def figures(places: tuple[str, ...], config: FiguresConfig) -> None:
    """Draw the figures of a run, a sweep or checkpoints."""
    run = parse_root(places[0])
    if is_elsewhere(run):
        if len(places) > 1:
            raise UserError(f"expected one run, or checkpoints in folders, got {run} and others")
        check_out(run, config.out)
        with as_folder(run) as here:
            figures_of(source_of([str(here)]), config.only, str(run))
            _of_run(here, config)
        return
    source = source_of(places)
    names = figures_of(source, config.only, ", ".join(places))  # before anything is loaded
    if source.startswith("checkpoint"):
        _of_checkpoints(places, names, config)
    else:
        _of_run(Path(places[0]), config)


def _of_checkpoints(places: tuple[str, ...], names: list[str], config: FiguresConfig) -> None:
    from attnlab.pipelines.comparison_examples import examples
    from attnlab.pipelines.model_comparison import open_comparison
    from attnlab.report.figures.drawing import draw

    models = open_comparison(places, config)
    inputs = examples(models, [(FIGURES[name].choice, FIGURES[name].count) for name in names])
    drawn = zip(names, inputs, strict=True)
    _say(draw(drawn, config.out or models.folder, ", ".join(models.names), config.only, grid=config.grid))


def _of_run(run: Path, config: FiguresConfig) -> None:
    from attnlab.report.figures.drawing import NothingDrawn
    from attnlab.report.figures.run import draw_run

    out, model = config.out, config.model

    def again(image_ids: list[str] | None) -> "Iterator[ReplayedImage]":
        from attnlab.pipelines.replay import replay

        return replay(run, image_ids, root=config.data.root, device=model.device, trust_code=model.trust_code)

    try:
        _say(draw_run(run, again, config.only, config.images, out, grid=config.grid))
    except NothingDrawn as none:
        if not config.overlays:
            raise
        click.echo(printable(str(none)))
    if config.overlays:
        from attnlab.pipelines.hardware import reading_processes
        from attnlab.report.figures.overlays import write_overlays

        views, workers = again(list(config.images) or None), reading_processes()
        count = write_overlays(run, views, out, grid=config.grid, workers=workers)
        click.echo(f"{out or run / 'figures'}/overlays: {count} pictures")


def _say(drawn: "Drawn") -> None:
    for note in drawn.notes:
        click.echo(printable(note))
    click.echo(f"{drawn.folder}: {', '.join(drawn.captions)}; each as .png, .pdf and, its caption, .txt")
