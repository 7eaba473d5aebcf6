"""`attnlab tables`, and how every command shows a run's tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from attnlab.config.sections import whole_numbers
from attnlab.errors import printable
from attnlab.report.tables import TABLES
from attnlab.stores import Url, as_folder, is_elsewhere

from .completion import names_of
from .console import show_layout
from .from_config import parsed
from .options import FORMAT, LIME_GT, RUN

if TYPE_CHECKING:
    from attnlab.report.tables.formats import Report


@click.command()
@RUN
@click.option(
    "--cells",
    callback=parsed(whole_numbers),
    metavar="K,K,...",
    help="Numbers of cells of highest attention that Table 3 compares; by default 5,10,20,30.",
)
@click.option(
    "--features",
    callback=parsed(whole_numbers),
    metavar="N,N,...",
    help="Numbers of superpixels in Tables 4 and 5; by default the run's.",
)
@LIME_GT
@FORMAT
@click.option(
    "--controls",
    is_flag=True,
    help="Add a table of what the size of the boxes alone would give: the IoU with them of a centred frame and of a "
    "random area as large, and the difference between the attack's failures and successes with its interval.",
)
@click.option(
    "--table",
    "names",
    multiple=True,
    metavar="NAME",
    callback=lambda _context, _parameter, names: [TABLES.expect(name) and name for name in names],
    shell_complete=names_of("tables"),
    help="Print this table alone; may be given several times.",
)
def tables(
    run: Path | Url,
    cells: list[int] | None,
    features: list[int] | None,
    lime_gt: str,
    form: str | None,
    names: list[str],
    controls: bool,
) -> None:
    """Make the tables of a RUN again from its records; needs no model and no data.

    They are written to RUN/tables and printed in the paper's layout; of a run in an archive or under a URL, which is
    only read, they are printed alone. With --format, standard output holds the tables
    alone and all that is said about them goes to standard error, so that pipes work: csv is tidy, and where there are
    several tables an empty line lies between them and a line `# NAME` above each; json is one object, name -> list of
    rows; markdown and latex are the paper's layout.

    \b
    attnlab tables runs/demo --format csv --table table3 > table3.csv
    attnlab tables runs/demo --format json | jq .table1
    """  # noqa: D301 - click wants the backspace itself
    with as_folder(run) as here:
        show_run(here, cells, features, lime_gt, form, names, controls=controls, read_only=is_elsewhere(run))
    if is_elsewhere(run):
        click.echo(f"{printable(str(run))} is only read: no tables are written", err=form is not None)


def show_run(
    run: Path,
    cells: list[int] | None = None,
    features: list[int] | None = None,
    lime_gt: str = "matched",
    form: str | None = None,
    names: Sequence[str] = (),
    *,
    controls: bool = False,
    read_only: bool = False,
) -> None:
    """Make, print and, unless the run is only read, write its tables; with --format all else goes to standard error."""
    from attnlab.report.tables.export import make_tables, write_tables
    from attnlab.report.tables.formats import choose_tables
    from attnlab.runs import Run

    asked = [*(["controls"] if controls else []), *(name for name in names if TABLES[name].option)]
    choices = (cells, features, lime_gt, asked)
    whole = make_tables(Run(run), *choices) if read_only else write_tables(run, *choices)
    show_report(choose_tables(whole, names), form)
    if not read_only:
        files = ", ".join(f"{name}.csv, {name}.tex" for name in whole.frames)
        click.echo(f"{run}/tables: {files}", err=form is not None)


def show_report(report: "Report", form: str | None) -> None:
    """Print tables and summary of a report; with --format all but the tables goes to standard error."""
    from attnlab.report.tables.formats import FORMATS

    if form is not None:
        click.echo(FORMATS[form](report), nl=False)
    else:
        for name in report.frames:
            title, _, note = report.captions[name].partition(". ")
            show_layout(report.lay_out(name, "full"), f"{name}: {title}", note)
    for line in report.summary:
        click.echo(printable(line), err=form is not None)
