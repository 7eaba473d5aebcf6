"""`attnlab sweep`."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

from attnlab.config import SweepConfig

from .console import Shown, show_layout, training_progress
from .from_config import options_of
from .imports import uncollected
from .train import SMALLEST

if TYPE_CHECKING:
    from attnlab.training.trainer import Training


@click.command()
@options_of(SweepConfig, smoke=SMALLEST)
def sweep(config: SweepConfig) -> None:
    """Train with every pair of alpha and beta, and report the accuracy on held-out images (Fig. 8).

    Every other option is as for `train`. OUT/alpha-A-beta-B is a training as `train` leaves it; the same command
    resumes what was interrupted, and one with further values trains those alone. OUT/sweep.csv has the columns alpha,
    beta, epoch (of the checkpoint kept), n (held-out images), clean, robust (accuracy in percent, the latter under PGD
    with the training's budget); OUT/figures/figure8 and sweep (.png, .pdf) show it. No test image is looked at.

    \b
    attnlab sweep --data mnist --root DIR --alphas 0,0.01,0.1 --betas 0,0.01,0.1 --epochs 2
    """  # noqa: D301 - click wants the backspace itself
    with uncollected():
        from attnlab.pipelines.sweep import sweep as run
        from attnlab.pipelines.sweep import sweep_folder
        from attnlab.report.figures.run import draw_run
        from attnlab.report.tables.layout import plain

    table, folder = run(config, _watch), sweep_folder(config)
    drawn = draw_run(folder)
    names = ", ".join(f"figures/{name}.*" for name in drawn.captions)
    show_layout(plain(table), f"{folder}: sweep.csv, {names}")


def _watch(training: "Training") -> AbstractContextManager[Shown]:
    click.echo(f"{training.folder}:", err=True)
    return training_progress(training.plan.epochs, training.steps, training.folder)
