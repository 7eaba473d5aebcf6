"""`attnlab evaluate`."""

import click

from attnlab.config import EvaluateConfig

from .from_config import SMALLEST, options_of
from .options import FORMAT
from .run_job import run_job


@click.command()
@options_of(EvaluateConfig, smoke=SMALLEST)
@FORMAT
def evaluate(config: EvaluateConfig, form: str | None) -> None:
    """Measure the accuracy of one or several models under attack: Tables 6 and 7.

    With no option it evaluates the built-in ResNet8 on the built-in scenes. The run folder holds run.json,
    records/*.parquet, skipped.csv and these tables, each as .csv and .tex:

    \b
    table6         dataset, model, defense (of a checkpoint), attack, n (images), accuracy (%, of the attack's last
                   point, as in the paper), ci_low, ci_high (95 %, Wilson), paper (its value where the run is its)
    table6_worst   the same columns; an image is lost as soon as any point on the way is misclassified
    table7         where an attack has +a3: attack, n (images the model classifies correctly: I_att), accuracy (%),
                   ci_low, ci_high, paper; with several models a first column model
    paired         with several models: attack, first, second, n, only_first, only_second (images one of them alone
                   classifies correctly), difference (points), p (exact McNemar test)

    \b
    attnlab evaluate --data mnist --root DIR --model runs/madry --model runs/madry-aad
    attnlab evaluate --data folder --root DIR --model net.py:build --weights plain.pth --weights defended.pth
    attnlab evaluate --data imagenet --root DIR --attacks iter-stepll,iter-stepll+a3,pgd,pgd+a3 --eps 4/255 --steps 3
    """  # noqa: D301 - click wants the backspace itself
    run_job(config, form=form)
