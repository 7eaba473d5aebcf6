"""Show a progress line while images are done, then tables."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from attnlab.errors import printable
from attnlab.shards import WHOLE, Shard
from attnlab.words import counted

if TYPE_CHECKING:
    from rich.text import Text

    from attnlab.report.tables.layout import Layout, Value

Count = Callable[[int], None]  # to be called with the number of images newly done

PLAIN_WIDTH = 110  # columns of text where there is no terminal
PLAIN_EVERY = 10  # seconds between two progress lines where there is no terminal


@contextmanager
def image_progress(total: int, out: Path | None, shard: Shard = WHOLE) -> Iterator[Callable[[int], None]]:
    """Show images done, images a second and time left; nothing where there are no images.

    Yields a function to call with the number newly done; its first call gives how many an earlier run did.
    `out` is what an interrupted command keeps its images in, None where it keeps none. Processes with a `shard` may
    share a terminal, so they show lines that say whose they are.
    """
    done = 0
    drawn = total and shard.whole and sys.stderr.isatty()
    with _bar(total) if drawn else nullcontext(_lines(total, "" if shard.whole else f"shard {shard}: ")) as show:

        def count(images: int) -> None:
            nonlocal done
            done += images
            show(images)

        try:
            yield count
        except KeyboardInterrupt:
            kept = f"what is finished is kept in {out}: repeat the command to resume" if out else "nothing was written"
            text = f"{done} of {counted(total, 'image')}; {kept}."
            click.echo(text, err=True)
            raise


def _lines(total: int, whose: str) -> Callable[[int], None]:
    """Plain lines, one in PLAIN_EVERY seconds and one at the end, that begin with whose they are."""
    before: int | None = None
    done = 0
    start = last = time.monotonic()

    def show(images: int) -> None:
        nonlocal before, done, start, last
        done += images
        now = time.monotonic()
        if before is None:
            before, start = images, now
        if total and (now - last >= PLAIN_EVERY or done == total):
            last = now
            speed = (done - before) / max(now - start, 1e-9)
            left = timedelta(seconds=round((total - done) / speed)) if speed else None
            pace = f", {speed:.1f} images/s, {left} left" if left else f", {speed:.1f} images/s" if speed else ""
            click.echo(f"{whose}{done} of {counted(total, 'image')}{pace}", err=True)

    return show


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: object) -> Text:
            speed = getattr(task, "finished_speed", None) or getattr(task, "speed", None)
            return Text(f"{speed:.1f} images/s" if speed else "")

    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("images", total=total)
        yield lambda images: progress.advance(task, images)


def show_layout(layout: "Layout", title: str, note: str = "") -> None:
    """Print a table as the paper sets it, a note below; a line wider than the terminal is left to it to fold."""
    from rich.box import HORIZONTALS
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=HORIZONTALS)
    columns = layout.columns()
    for head, cells in zip([*layout.first, *layout.spelled_heads("\n")], columns, strict=True):
        numbers = any(not isinstance(cell, str) for cell in cells)
        shown = "\n".join(map(printable, head.split("\n")))
        table.add_column(Text(shown), justify="right" if numbers else "left", vertical="bottom", no_wrap=True)
    for line in layout.lines:
        table.add_row(*(Text(printable(cell)) if isinstance(cell, str) else _number(cell) for cell in line))
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print(printable(title), markup=False, emoji=False, highlight=False)
    width = console.width
    console.width = max(width, Measurement.get(console, console.options.update(width=10_000), table).maximum)
    console.print(table, soft_wrap=True)
    console.width = width
    if note:
        console.print(printable(note), markup=False, emoji=False, highlight=False)
    console.print()


def _number(value: "Value") -> "Text":
    """A number with its interval fainter behind it."""
    from rich.text import Text

    return Text(value.text()).append(f" {value.interval()}" if value.interval() else "", style="dim")


class Shown(NamedTuple):
    """How a training is shown: with each line of its log, and with each step."""

    on_log: Callable[[dict[str, Any]], None]
    on_step: Callable[[int], None]


@contextmanager
def training_progress(epochs: int, steps: int, out: Path) -> Iterator[Shown]:
    """Show a training: steps and time left, the terms of the loss, a line for each epoch's accuracies.

    Yields functions to call with each line of the log, and with the number of steps made so far after each step.
    """
    from rich.console import Console

    drawn = sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal
    how = _training_bar(epochs, steps) if drawn else nullcontext(_training_lines(epochs, steps))
    try:
        with how as shown:
            yield shown
    except KeyboardInterrupt:
        click.echo(f"what is done is kept in {out}: repeat the command to resume.", err=True)
        raise


def _of_epoch(line: dict[str, Any], epochs: int) -> str:
    figures = ", ".join(f"{name} {line[name]:.2f} %" for name in ("clean", "robust"))
    return f"epoch {line['epoch']} of {epochs}: held out {figures}"


def _terms(line: dict[str, Any]) -> str:
    return " ".join(f"{name} {value:.4f}" for name, value in line.items() if name not in ("epoch", "step", "of"))


def _training_lines(epochs: int, steps: int) -> Shown:
    """Plain lines, one for each of the log."""
    start = time.monotonic()
    first: int | None = None

    def on_log(line: dict[str, Any]) -> None:
        nonlocal first, start
        if "step" not in line:
            click.echo(_of_epoch(line, epochs), err=True)
            return
        done = (line["epoch"] - 1) * steps + line["step"]
        if first is None:
            first, start = done, time.monotonic()
        speed = (done - first) / max(time.monotonic() - start, 1e-9)
        left = f", {timedelta(seconds=round((epochs * steps - done) / speed))} left" if done > first else ""
        click.echo(f"epoch {line['epoch']} of {epochs}, step {line['step']} of {steps}: {_terms(line)}{left}", err=True)

    return Shown(on_log, lambda done: None)


@contextmanager
def _training_bar(epochs: int, steps: int) -> Iterator[Shown]:
    """A bar of all steps with the last terms below it, and the epochs' lines above."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
    from rich.text import Text

    columns = (TextColumn("epoch {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps,"))
    left = (TimeRemainingColumn(), TextColumn("left"))
    bar = Progress(*columns, *left, speed_estimate_period=3600)  # a step may take a minute
    terms = Text(style="dim")
    task: TaskID | None = None

    def on_step(done: int) -> None:
        nonlocal task
        epoch = f"{min((done - 1) // steps + 1, epochs)} of {epochs}"
        if task is None:  # what an earlier session made is none of this one's speed
            task = bar.add_task(epoch, total=epochs * steps, completed=done)
        bar.update(task, description=epoch, completed=done)

    def on_log(line: dict[str, Any]) -> None:
        if "step" in line:
            terms.plain = _terms(line)
        else:
            live.console.print(_of_epoch(line, epochs), markup=False, highlight=False)

    with Live(Group(bar, terms), console=Console(stderr=True), transient=True) as live:
        yield Shown(on_log, on_step)
