"""`attnlab report`."""

from pathlib import Path

import click

from attnlab.config.figures import ShownDataOptions, words
from attnlab.stores import Url, as_folder, check_out

from .console import image_progress
from .from_config import option_like, parsed
from .options import RUN, TRUST


@click.command()
@RUN
@option_like(ShownDataOptions, "root")
@click.option("--out", type=click.Path(path_type=Path), help="File to write; by default RUN/report.html.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Device to compute on: auto (the first GPU, else the CPU), cpu, cuda, cuda:1, ...",
)
@TRUST
@click.option(
    "--images",
    metavar="ID,...",
    callback=parsed(words),
    help="Draw these images alone, on a page of their own: RUN/report-images.html. The page of a large run draws some; "
    "others are seen so.",
)
@click.option(
    "--no-images",
    is_flag=True,
    help="Draw no pictures, so that neither data nor model is needed: tables, distributions, maps and figures come "
    "from the records.",
)
def report(
    run: Path | Url,
    root: Path | Url | None,
    out: Path | None,
    device: str,
    trust_code: bool,
    images: tuple[str, ...] | None,
    no_images: bool,
) -> None:
    """Write a RUN of `analyze` or `evaluate` as one page that opens anywhere, offline: report.html.

    The page holds what was run, its tables and distributions, skipped images and, for an analysis, every image to look
    through: clean and adversarial, with maps, boxes and figures. An unfinished run is shown as far as it
    got. The page of a run of more than 2,000 images lists, filters and sorts all of them by their numbers, and draws
    some, by a rule that it states. A run in an archive or under a URL is only read: say --out.

    \b
    attnlab report runs/scenes-val-resnet8
    attnlab report runs/imagenet-val-inception_v3 --root /data/imagenet --out figures/inception.html
    attnlab report runs/imagenet-val-inception_v3 --images ILSVRC2012_val_00000001,ILSVRC2012_val_00000007
    """  # noqa: D301 - click wants the backspace itself
    from attnlab.report.page.write import open_page

    if images == ():
        raise click.UsageError("expected --images to name one or more, got none")
    if images and no_images:
        raise click.UsageError("expected --images or --no-images, got both")
    check_out(run, out)
    with as_folder(run) as here:
        page, views = open_page(here, out, images or (), called=run), None
        if not no_images:
            from attnlab.pipelines.replay import replay

            views = replay(here, page.shown, root=root, device=device, trust_code=trust_code)
        with image_progress(0 if no_images else len(page.shown), None) as progress:
            path = page.write(views, progress)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
