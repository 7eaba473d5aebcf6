"""`attnlab attack`."""

import click

from attnlab.config import AttackConfig

from .from_config import SMALLEST, options_of
from .run_job import run_job


@click.command()
@options_of(AttackConfig, smoke=SMALLEST)
def attack(config: AttackConfig) -> None:
    """Write adversarial images, and measure the accuracy of the model on them.

    The run folder holds arrays/ID.npy (float32, channels first, pixels in [0, 1] at the model's size) and
    images/ID.png: the same in whole grey levels, brought back into the ball where rounding left it. Both are shown to
    the model, and Table 6 has both accuracies. Pixels stay at most eps from the image as the model sees it, after its
    resizing.

    \b
    attnlab attack --attack pgd20 --eps 8/255 --limit 100 --out adversarial
    """  # noqa: D301 - click wants the backspace itself
    job = run_job(config)
    if job:
        click.echo(f"{job.out}: arrays/*.npy, images/*.png")
