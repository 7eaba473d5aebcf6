"""`attnlab leaderboard`."""

from contextlib import ExitStack
from pathlib import Path

import click

from attnlab.config import LeaderboardConfig
from attnlab.errors import printable
from attnlab.stores import as_folder, check_out, parse_root

from .console import show_layout
from .from_config import options_of


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@options_of(LeaderboardConfig)
def leaderboard(runs: tuple[str, ...], config: LeaderboardConfig) -> None:
    """Set the models of these RUNs side by side; needs no model and no data.

    RUNs are of `analyze` and of `evaluate`, any number of them; those of one model, by the hash of its weights, make
    one row: accuracy, clean and under each attack, attention and object, how far attention moves, and faithfulness
    where it was measured, with intervals. Each model is compared with the best on the images that both have. OUT holds
    leaderboard.csv, differences.csv, leaderboard.tex, leaderboard.md, a scatter of robustness against gaze, and
    leaderboard.html, one page that opens anywhere.

    \b
    attnlab leaderboard runs/resnet50 runs/vit runs/evaluate --out boards/two
    attnlab leaderboard runs/none runs/aad --sort iou --against none
    """  # noqa: D301 - click wants the backspace itself
    from attnlab.study.leaderboard import leaderboard as make

    roots = [parse_root(run) for run in runs]
    for root in roots[:1]:
        check_out(root, config.out)
    with ExitStack() as stack:
        folders = [stack.enter_context(as_folder(root)) for root in roots]
        made = make(folders, sort=config.sort, method=config.method, against=config.against, called=roots)
    out = config.out or Path(runs[0]) / "leaderboard"
    files = made.write(out)
    show_layout(made.in_short(), made.title)
    for group, layout in made.layouts().items():
        show_layout(layout, group)
    for note in made.notes:
        click.echo(printable(note))
    click.echo(printable(f"{out}: {', '.join(files)}"))
