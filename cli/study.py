"""`attnlab study`."""

from contextlib import ExitStack
from pathlib import Path

import click

from attnlab.config import StudyConfig
from attnlab.errors import printable
from attnlab.stores import as_folder, check_out, parse_root

from .console import show_layout
from .from_config import options_of


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@options_of(StudyConfig)
def study(runs: tuple[str, ...], config: StudyConfig) -> None:
    """Say of each claim of the paper whether it is true of the models of these RUNs; needs no model and no data.

    RUNs are of `analyze` (claims 1 to 4) and of `evaluate` (claim 5), any number of them; those of one kind are brought
    to the images that all have. Each claim gets its effect with intervals, a permutation test corrected over the
    methods, the same after control for margin and object, and a verdict. OUT holds images.csv (a row for each image,
    method and eps, for pandas), claims.csv, a table and a figure for each claim, summary.md and study.html, one page
    that opens anywhere. Needs the extra: pip install 'attnlab[study]'.

    \b
    attnlab study runs/demo
    attnlab study runs/none runs/aad runs/evaluate-a3 --out studies/scenes
    attnlab study runs/demo --claim "succeed ~ iou_att_gt + margin + box_area"
    """  # noqa: D301 - click wants the backspace itself
    from attnlab.study.write import study as make

    roots = [parse_root(run) for run in runs]
    for root in roots[:1]:
        check_out(root, config.out)
    with ExitStack() as stack:
        folders = [stack.enter_context(as_folder(root)) for root in roots]
        made = make(
            folders,
            claim=config.claim,
            cells=config.cells,
            features=config.features,
            smallest=config.smallest,
            defended=config.defended,
            called=roots,
        )
    out = config.out or Path(runs[0]) / "study"
    files = made.write(out)
    show_layout(made.in_short(), made.title)
    for note in made.inputs.notes:
        click.echo(printable(note))
    click.echo(printable(f"{out}: {', '.join(files)}"))
