"""`attnlab export`."""

from contextlib import AbstractContextManager
from pathlib import Path
from textwrap import fill

import click

from attnlab.config import ExportConfig
from attnlab.errors import printable
from attnlab.exports import EXPORTS
from attnlab.stores import Url, as_folder, check_out

from .completion import names_of
from .console import Count, image_progress
from .from_config import options_of
from .options import RUN

FORMATS = "\n".join(
    fill(spec.summary, 106, initial_indent=f"{name:<10}", subsequent_indent=" " * 10) for name, spec in EXPORTS.items()
)
HELP = f"""Export a RUN to a format of programs in which people look at images and numbers.

\b
{FORMATS}

coco and fiftyone take runs of `analyze` and, as `report` does, read and attack the images again: all pictures and
coordinates have the model's size. An unfinished run is exported as far as it got, with a note. Repeat the command to
complete an export that was interrupted. A run in an archive or under a URL is only read: say --out.

\b
attnlab export csv runs/demo
attnlab export coco runs/imagenet-val-inception_v3 --root /data/imagenet --out coco
attnlab export fiftyone runs/demo && fiftyone app launch demo
"""


@click.command(help=HELP)
@click.argument(
    "form",
    metavar="|".join(EXPORTS),
    callback=lambda _context, _parameter, form: EXPORTS.expect(form) and form,
    shell_complete=names_of("exports"),
)
@RUN
@options_of(ExportConfig)
def export(form: str, run: Path | Url, config: ExportConfig) -> None:
    """Export a run to a format of other programs."""
    from attnlab.exports.write import export as export_run

    check_out(run, config.out)

    def progress(total: int) -> AbstractContextManager[Count]:
        return image_progress(total, config.out or Path(str(run), f"export-{form}"))

    with as_folder(run) as here:
        lines = export_run(form, here, config, progress)
    for line in lines:
        click.echo(printable(line))
