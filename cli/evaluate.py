"""`attnlab evaluate`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from attnlab.attacks.parse import TABLE6, iterative_attacks

from .completion import a_model, attacks, lists_of, names_of
from .console import image_progress
from .options import ANY_SPLIT, FORMAT, MODEL, SPLIT, WEIGHTS, attack_options, shared_options
from .tables import show_run

MODELS = click.option(
    "--model",
    "models",
    multiple=True,
    shell_complete=names_of("models", or_file=True),
    callback=a_model,
    help="As for `analyze`; repeat it to compare several models, such as checkpoint folders.",
)

MANY_WEIGHTS = click.option(
    "--weights",
    multiple=True,
    shell_complete=names_of(or_file=True),
    help="As for `analyze`; repeat it, once per --model in the same order, or several times for one --model.",
)


@click.command()
@partial(shared_options, instead={MODEL: MODELS, SPLIT: ANY_SPLIT, WEIGHTS: MANY_WEIGHTS})
@click.option(
    "--name",
    "names",
    multiple=True,
    help="Name of each --model in the tables, in the same order; by default that of the model, or of its "
    "file of weights.",
)
@click.option(
    "--attacks",
    default=TABLE6,
    show_default=True,
    shell_complete=lists_of("others", "attacks"),
    callback=attacks(others=True),
    help="Attacks with commas between them; `attnlab list attacks` names them. A number behind "
    f"{', '.join(iterative_attacks())} is its number of steps; +a3 behind any adds the attention deviation.",
)
@attack_options
@click.option(
    "--stop",
    is_flag=True,
    help="Let an image leave an attack at the first point that is misclassified: faster, and the accuracy is then the "
    "worst point's, not the last one's as in the paper.",
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Check for masked gradients and mistakes of protocol at the end, and write what is found to checks.csv.",
)
@FORMAT
def evaluate(out: Path | None, form: str | None, **options: Any) -> None:
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
    from attnlab.pipelines.evaluate_job import prepare_evaluation

    job = prepare_evaluation(out=out, **options)
    with image_progress(len(job.positions), job.out) as progress:
        job.run(progress)
    show_run(job.out, form=form)
