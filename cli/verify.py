"""`attnlab verify`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from attnlab.config import VerifyConfig
from attnlab.errors import printable
from attnlab.stores import Url, as_folder
from attnlab.words import counted

from .console import image_progress, show_layout
from .from_config import options_of
from .imports import uncollected
from .options import RUN

if TYPE_CHECKING:
    from attnlab.pipelines.verify import Verification

COLOURS = {"ok": "green", "note": "yellow", "failed": "red"}
NAMED = 5  # images that are named of each value


@click.command()
@RUN
@options_of(VerifyConfig)
@click.option("--format", "form", type=click.Choice(["json"]), help="Print all that was found as JSON, for pipes.")
def verify(run: Path | Url, config: VerifyConfig, form: str | None) -> None:
    """Check that a RUN is what its run.json says: compute a sample of its records again and compare.

    First hashes are compared: checksums of the records, of data, weights and code. Then whole batches are drawn by
    --seed until there are --sample records of each model, and computed again as the run computed them. Each value has a
    tolerance (docs/how-to/verify-a-run.md). RUN is of `analyze`, `evaluate` or `attack`; of a folder of `train` or
    `sweep` the hashes of all checkpoints' weights are checked. Nothing is written. Exits with 0 if all holds, else
    with 1.

    \b
    attnlab verify runs/demo
    attnlab verify runs/imagenet --root /data/imagenet --sample 100 --seed 7
    """  # noqa: D301 - click wants the backspace itself
    with uncollected():
        from attnlab.pipelines.verify import verify as run_verification

    with as_folder(run) as here, image_progress(0, None) as progress:
        found = run_verification(here, config, progress)
    if form:
        values = [{**asdict(value), "holds": value.holds} for value in found.values]
        checks = [check._asdict() for check in found.checks]
        click.echo(json.dumps({"holds": found.holds, "checks": checks, "values": values}, indent=2))
    else:
        _show(found)
        click.echo(printable(f"{run}: {'verified' if found.holds else 'not verified'}"))
    if not found.holds:
        raise SystemExit(1)


def _show(found: "Verification") -> None:
    from attnlab.report.tables.layout import Cell, Layout, Value

    for check in found.checks:
        click.echo(
            f"{click.style(f'{check.state:<6}', fg=COLOURS[check.state])} {check.name:<13} {printable(check.text)}"
        )
    if not found.values:
        return
    lines: list[list[Cell]] = [
        [
            value.name,
            Value(value.compared, 0),
            Value(len(value.differing), 0),
            Value(value.may_differ, 0),
            f"{value.greatest:.1e}" if value.greatest else "0",
            f"{value.tolerance:g}" if value.tolerance else "equal",
            "ok" if value.holds else "failed",
        ]
        for value in found.values
    ]
    heads = ["records", "differ", "may differ", "greatest difference", "tolerance", ""]
    show_layout(Layout(["value"], [], heads, lines), "Recomputed records, differences as shares of the largest value")
    for value in found.values:
        if value.differing and not value.holds:
            more = f" and {counted(len(value.differing) - NAMED, 'other')}" if len(value.differing) > NAMED else ""
            click.echo(printable(f"{value.name} differs: {', '.join(value.differing[:NAMED])}{more}"))
