"""`attnlab doctor`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from attnlab.config.sections import DataOptions, check_split
from attnlab.data import DATASETS, check_label
from attnlab.errors import UserError, printable
from attnlab.stores import Url, parse_root

from .completion import names_of
from .from_config import option_like
from .options import DEVICE, TRUST

if TYPE_CHECKING:
    from attnlab.doctor import Finding

COLOURS = {"ok": None, "note": "yellow", "problem": "red"}


@click.command()
@click.option(
    "--root",
    "roots",
    metavar="PATH",
    callback=lambda _context, _parameter, texts: tuple(map(parse_root, texts)),
    shell_complete=names_of(or_file=True),
    multiple=True,
    help="Folder, archive or URL in which to look for data sets too; may be given several times.",
)
@click.option(
    "--data",
    shell_complete=names_of("data"),
    help="Data set that has to be there; by default all are looked for and none has to be.",
)
@option_like(DataOptions, "split")
@option_like(DataOptions, "label")
@click.option("--model", shell_complete=names_of("models", or_file=True), help="Model whose weights have to be there.")
@TRUST
@DEVICE
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder where runs are to be written.",
)
def doctor(
    roots: tuple[Path | Url, ...],
    data: str | None,
    split: str | None,
    label: str | None,
    model: str | None,
    trust_code: bool,
    device: str,
    out: Path,
) -> None:
    """Report versions, device, precisions, data, weights and folders to write to, and what to do about each problem.

    Exits with 0 if there is no problem and with 1 if there is one. Nothing is downloaded. With --data the first nine
    images are drawn with their boxes and masks, to OUT/doctor/NAME-SPLIT.png: look at it before a long run, since boxes
    that are shifted, scaled or swapped fit the frame all the same. No other file is left behind.

    \b
    attnlab doctor --data imagenet --root /data/imagenet --model resnet50 --device cuda
    """  # noqa: D301 - click wants the backspace itself
    if data is not None:
        DATASETS.expect(data)  # before torch is loaded
        check_split(data, split)
        check_label(data, label)
    elif split or label:
        raise UserError("expected --data with --split and --label, got none")
    from attnlab.doctor import examine

    topic = ""
    states = []
    asked = {"dataset": data, "split": split, "label": label, "model": model}
    for finding in examine(device=device, roots=roots, out=out, trust_code=trust_code, **asked):
        if finding.topic != topic:
            topic = finding.topic
            click.secho(topic, bold=True)
        _show(finding)
        states.append(finding.state)
    problems, notes = states.count("problem"), states.count("note")
    click.echo(f"{problems or 'no'} problem{'s' * (problems != 1)}, {notes or 'no'} note{'s' * (notes != 1)}")
    if problems:
        raise SystemExit(1)


def _show(finding: "Finding") -> None:
    mark = "" if finding.state == "ok" else click.style(f"{finding.state}: ", fg=COLOURS[finding.state])
    click.echo(f"  {printable(finding.name):<14} {mark}{printable(finding.text)}")
    if finding.advice:
        click.echo(f"  {'':<14} -> {printable(finding.advice)}")
