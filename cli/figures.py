"""`attnlab figures`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnlab.errors import printable

from .completion import a_length, a_split, attacks, names_of, one_of
from .options import DEVICE, NORMALISATION, TRUST, names

if TYPE_CHECKING:
    from attnlab.report.figures.drawing import Drawn


@click.command()
@click.argument("places", metavar="RUN|CHECKPOINTS...", nargs=-1, required=True)
@click.option("--only", default="", callback=names, metavar="NAME,...", help="Figures to draw; by default all.")
@click.option("--images", default="", callback=names, metavar="ID,...", help="Images to show, in place of the rule's.")
@click.option("--grid", is_flag=True, help="Draw the borders of the maps' cells: the attention layer's resolution.")
@click.option("--overlays", is_flag=True, help="Of an analysis: also every image's map over it, as overlays/ID-*.png.")
@click.option(
    "--data",
    is_eager=True,
    default="scenes",
    show_default=True,
    shell_complete=names_of("data"),
    callback=one_of("data"),
    help="Of checkpoints: whose images they look at.",
)
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the data's files; by default the run's.")
@click.option(
    "--split",
    shell_complete=names_of("splits"),
    callback=a_split,
    help="Of checkpoints: part of the data set; by default test, for imagenet and folder val.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Of checkpoints: how many images the rules choose from.",
)
@click.option(
    "--attack",
    default="pgd",
    show_default=True,
    shell_complete=names_of("attacks"),
    callback=attacks(suites=False),
    help="Of checkpoints: attack of Figs. 6, 7, 9, 10, 11.",
)
@click.option("--eps", callback=a_length("eps"), help="Of checkpoints: L-infinity budget, as for `evaluate`.")
@click.option("--steps", type=int, help="Of --attack, as for `evaluate`.")
@click.option("--step-size", callback=a_length("--step-size"), help="Likewise, also of Figs. 2 and 12.")
@NORMALISATION[0]
@NORMALISATION[1]
@TRUST
@DEVICE
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the files; by default figures/ in the first.")
def figures(places: tuple[str, ...], images: list[str], overlays: bool, out: Path | None, **options: Any) -> None:
    """Draw the paper's figures of a RUN or of CHECKPOINTS, as PNG and PDF with their captions.

    \b
    run of analyze    figure1 (Grad-CAM), figure3 (LIME), figure13 (failure cases), iou-distributions,
                      success-against-iou, iou-against-eps
    run of evaluate   accuracy-against-steps
    sweep             figure8, sweep
    one checkpoint    figure2, figure12 (rounds of an attack), figure6 (epochs; train --snapshots leaves them)
    several, the      figure7, figure9 (maps under each), figure10 or, of defence stepll, figure11 (successful and
    undefended first  failed defence)

    No image is picked by hand: Figs. 1 and 3 show, of each group, the image whose IoU with the boxes is the group's
    median, Fig. 13 the most scattered maps and the lowest IoUs at a confidence of 0.9 or more, the others images of
    typical confidence. Each caption says so.

    \b
    attnlab figures runs/imagenet-val-inception_v3 --only figure1 --images ILSVRC2012_val_00000001 --grid
    attnlab figures runs/none runs/madry runs/aad --data cifar10 --root DIR
    """  # noqa: D301 - click wants the backspace itself
    first = Path(places[0])
    if first.is_dir() and len(places) == 1 and not (first / "model.json").is_file():
        _of_run(first, images, out, overlays=overlays, **options)
    else:
        _of_checkpoints(places, images, out, **options)


def _of_checkpoints(places: tuple[str, ...], images: list[str], out: Path | None, **options: Any) -> None:
    from attnlab.pipelines.gallery_job import open_gallery
    from attnlab.report.figures.checkpoints import draw_checkpoints

    only, grid = options.pop("only"), options.pop("grid")
    gallery = open_gallery(places, named=images, **options)
    _say(draw_checkpoints(gallery, out or gallery.folder, only, grid=grid))


def _of_run(run: Path, images: list[str], out: Path | None, *, overlays: bool, **options: Any) -> None:
    from attnlab.pipelines.defaults import reading_processes
    from attnlab.pipelines.revisit import revisit
    from attnlab.report.figures.drawing import NothingDrawn
    from attnlab.report.figures.overlays import write_overlays
    from attnlab.report.figures.run import draw_run

    root, device, trust_code = (options[name] for name in ("root", "device", "trust_code"))
    see = partial(revisit, run, root=root, device=device, trust_code=trust_code)
    try:
        _say(draw_run(run, see, out, options["only"], images, grid=options["grid"]))
    except NothingDrawn as none:
        if not overlays:
            raise
        click.echo(printable(str(none)))
    if overlays:
        count = write_overlays(run, see(images or None), out, grid=options["grid"], workers=reading_processes())
        click.echo(f"{out or run / 'figures'}/overlays: {count} pictures")


def _say(drawn: "Drawn") -> None:
    for note in drawn.notes:
        click.echo(printable(note))
    click.echo(f"{drawn.folder}: {', '.join(drawn.captions)}; each as .png, .pdf and, its caption, .txt")
