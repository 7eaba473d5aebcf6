"""`attnlab sweep`."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import Shown, show_layout, training_progress
from .options import numbers
from .train import training_options

if TYPE_CHECKING:
    from attnlab.training.trainer import Training


@click.command()
@training_options
@click.option(
    "--alphas",
    default="0,0.001,0.01,0.1",
    show_default=True,
    callback=numbers,
    help="Weights of attention rectification, with commas between them.",
)
@click.option(
    "--betas",
    default="0,0.001,0.01,0.1",
    show_default=True,
    callback=numbers,
    help="Weights of attention preservation, with commas between them.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder; by default runs/DATA-sweep-DEFENSE-SEED.")
def sweep(out: Path | None, **options: Any) -> None:
    """Train with every pair of alpha and beta, and report the accuracy on held-out images (Fig. 8).

    Every other option is as for `train`. OUT/alpha-A-beta-B is a training as `train` leaves it; the same command
    resumes what was interrupted, and one with further values trains those alone. OUT/sweep.csv has the columns alpha,
    beta, epoch (of the checkpoint kept), n (held-out images), clean, robust (accuracy in percent, the latter under PGD
    with the training's budget); OUT/figures/figure8 and sweep (.png, .pdf) show it. No test image is looked at.

    \b
    attnlab sweep --data mnist --root DIR --alphas 0,0.01,0.1 --betas 0,0.01,0.1 --epochs 2
    """  # noqa: D301 - click wants the backspace itself
    from attnlab.pipelines.sweep import sweep as run
    from attnlab.report.figures.run import draw_run, plan_figures
    from attnlab.report.tables.layout import plain

    folder = out or Path("runs") / f"{options['data']}-sweep-{options['defense']}-{options['seed']}"
    table = run(out=folder, watch=_watch, **options)
    drawn = draw_run(plan_figures(folder))
    names = ", ".join(f"figures/{name}.*" for name in drawn.captions)
    show_layout(plain(table), f"{folder}: sweep.csv, {names}")


def _watch(training: "Training") -> AbstractContextManager[Shown]:
    click.echo(f"{training.folder}:", err=True)
    return training_progress(training.plan.epochs, training.steps, training.folder)
