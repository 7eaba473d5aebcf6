"""`attnlab attack`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from .completion import attacks, names_of
from .console import image_progress
from .options import ANY_SPLIT, SPLIT, attack_options, shared_options
from .tables import show_run


@click.command()
@partial(shared_options, instead={SPLIT: ANY_SPLIT})
@click.option(
    "--attack",
    "attacks",
    default="pgd",
    show_default=True,
    shell_complete=names_of("attacks", "others"),
    callback=attacks(others=True),
    help="One attack; `attnlab list attacks` names them.",
)
@attack_options
def attack(out: Path | None, model: str | None, **options: Any) -> None:
    """Write adversarial images, and measure the accuracy of the model on them.

    The run folder holds arrays/ID.npy (float32, channels first, pixels in [0, 1] at the model's size) and
    images/ID.png: the same in whole grey levels, brought back into the ball where rounding left it. Both are shown to
    the model, and Table 6 has both accuracies. Pixels stay at most eps from the image as the model sees it, after its
    geometry.

    \b
    attnlab attack --attack pgd20 --eps 8/255 --limit 100 --out adversarial
    """  # noqa: D301 - click wants the backspace itself
    from attnlab.pipelines.evaluate_job import prepare_evaluation

    job = prepare_evaluation(out=out, models=[model] if model else [], save=True, **options)
    with image_progress(len(job.positions), job.out) as progress:
        job.run(progress)
    show_run(job.out)
    click.echo(f"{job.out}: arrays/*.npy, images/*.png")
