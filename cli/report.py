"""`attnlab report`."""

from pathlib import Path

import click

from attnlab.config.figures import ShownDataOptions
from attnlab.stores import Url

from .console import image_progress
from .from_config import option_like
from .options import TRUST


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
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
    "--images/--no-images",
    default=True,
    show_default=True,
    help="Show the images. With --no-images, neither data nor model is needed: tables, distributions, maps "
    "and figures come from the records.",
)
def report(run: Path, root: Path | Url | None, out: Path | None, device: str, trust_code: bool, images: bool) -> None:
    """Write a RUN of `analyze` or `evaluate` as one page that opens anywhere, offline: report.html.

    The page holds what was run, its tables and distributions, skipped images and, for an analysis, every image to look
    through: clean and adversarial, with maps, boxes and figures. An unfinished run is shown as far as it
    got.

    \b
    attnlab report runs/scenes-val-resnet8
    attnlab report runs/imagenet-val-inception_v3 --root /data/imagenet --out figures/inception.html
    """  # noqa: D301 - click wants the backspace itself
    from attnlab.pipelines.replay import replay
    from attnlab.report.page.write import images_shown, write_report

    views = replay(run, root=root, device=device, trust_code=trust_code) if images else None
    with image_progress(images_shown(run) if images else 0, None) as progress:
        path = write_report(run, views, out, progress)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
