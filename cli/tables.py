"""`attnlab tables`."""

from pathlib import Path

import click

from .console import show_table
from .options import LIME_GT, whole_numbers


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--cells", callback=whole_numbers, metavar="K,K,...", help="Cells of Table 3; by default 5,10,20,30.")
@click.option("--features", callback=whole_numbers, metavar="N,N,...", help="Of Tables 4, 5; by default the run's.")
@LIME_GT
def tables(run: Path, cells: list[int] | None, features: list[int] | None, lime_gt: str) -> None:
    """Make the tables of a RUN again from its records; needs no model and no data."""
    show_run(run, cells, features, lime_gt)


def show_run(
    run: Path, cells: list[int] | None = None, features: list[int] | None = None, lime_gt: str = "matched"
) -> None:
    """Make and print a run's tables."""
    from attnlab.report.accuracy import ACCURACIES, GRIDS, as_grid
    from attnlab.report.export import report_run

    report = report_run(run, cells, features, lime_gt)
    for name, frame in report.frames.items():
        title = f"{name}: {report.captions[name]}"
        if name in ACCURACIES:  # in percent
            show_table(as_grid(frame) if name in GRIDS else frame, title, digits=2)
        else:
            show_table(frame, title)
    for line in report.summary:
        click.echo(line)
    click.echo(f"{run}/tables: {', '.join(f'{name}.csv, {name}.tex' for name in report.frames)}")
