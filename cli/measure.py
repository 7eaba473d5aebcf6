"""`attnlab measure`."""

from pathlib import Path

import click

from attnlab.config.analyze import check_measures
from attnlab.config.names import check_known
from attnlab.config.sections import texts
from attnlab.errors import printable
from attnlab.measures import ALL
from attnlab.stores import Url, as_folder, is_elsewhere

from .completion import lists_of
from .from_config import parsed
from .options import FORMAT, RUN
from .tables import show_report


def _named(text: str) -> tuple[str, ...]:
    names = texts(text)
    for name in names:
        check_known("measures", name, "--measures")
    check_measures(names)
    return names


@click.command()
@RUN
@click.option(
    "--measures",
    default=ALL,
    show_default=True,
    callback=parsed(_named),
    shell_complete=lists_of("measures"),
    help="Measures, with commas between them, or all that the records suffice for; `attnlab list measures` says of "
    "each what it is.",
)
@FORMAT
def measure(run: Path | Url, measures: tuple[str, ...], form: str | None) -> None:
    """Measure the maps that a RUN has stored, clean and attacked; needs no model and no data.

    Writes RUN/tables/measures.csv and .tex and leaves the records as they are. Maps at the layer's resolution are
    always stored, those at the images' with `attnlab analyze --keep-maps`; their grids of cells suffice for what
    compares two maps. What asks the model (insertion, ...) is taken by `attnlab analyze --measures` alone.

    \b
    attnlab measure runs/demo
    attnlab measure runs/demo --measures pointing,mass,emd --format csv
    """  # noqa: D301 - click wants the backspace itself
    from attnlab.pipelines.stored_measures import stored_measures
    from attnlab.report.tables.export import measures_table, write_report
    from attnlab.runs import Run

    with as_folder(run) as here:
        found = stored_measures(Run(here), measures)
        report = measures_table(found.run, found.names, found.frames, found.notes)
        if not is_elsewhere(run):
            write_report(here, report)
    show_report(report, form)
    where = (
        f"{run} is only read: no table is written" if is_elsewhere(run) else f"{run}/tables: measures.csv, measures.tex"
    )
    click.echo(printable(where), err=form is not None)
