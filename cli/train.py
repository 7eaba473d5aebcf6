"""`attnlab train`."""

import inspect

import click

from attnlab.config import TrainConfig
from attnlab.config.names import length
from attnlab.errors import printable
from attnlab.training.recipes import all_plans

from .console import training_progress
from .from_config import options_of
from .imports import uncollected

SMALLEST = "one epoch of 8 images under one step of attack"  # what --smoke runs


def plan_rows() -> str:
    """Every plan in a line, below a heading."""
    rows = [("data", "plan", "model", "epochs", "batch", "optimizer", "learning rate", "eps", "step", "steps", "ramp",
             "held out")]  # fmt: skip
    for data, plans in all_plans().items():
        for name, plan in plans.items():
            rate, lengths = f"{plan.learning_rate:g} {plan.schedule}", (length(plan.eps), length(plan.step_size))
            counts = (str(plan.epochs), str(plan.batch_size), plan.optimizer, rate)
            ends = (str(plan.steps), f"{plan.ramp:g}", str(plan.held_out))
            rows.append((data, name, plan.model, *counts, *lengths, *ends))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


@click.command()
@options_of(TrainConfig, smoke=SMALLEST)
def train(config: TrainConfig) -> None:
    """Train a model whose accuracy and gaze withstand attacks.

    With no option it trains ResNet8 on the built-in scenes with attention-based adversarial defence (madry+aad). The
    folder is a checkpoint that `attnlab evaluate --model` and `analyze --model` take: the best epoch's by accuracy on
    held-out training images under attack (clean for `none`); last/ holds the last epoch's. log.jsonl has a line every
    50 steps (every term of the loss, weighted; the attention terms before their weights as raw_...; shares of images)
    and each epoch (accuracy on the held-out images, clean and under PGD); --tensorboard makes curves of them for
    `tensorboard --logdir OUT`. The same command resumes an interrupted training and ends in the same weights.

    The plan says how long, how fast and under which attack; each of its values gives way to an option. `paper` has
    section 5.1's values, on MNIST and CIFAR-10 with the attacks of Madry et al. (2018); values that neither gives are
    ours (docs/training.md lists them). `short`, the default, takes a fraction of the time.

    \b
    PLANS

    `folder` trains as imagenet does, on ROOT/train where that has a boxes.csv, and holds out a tenth of a small set.
    resnet50 starts from torchvision's weights, resnet8 from the built-in ones, the others from scratch; --weights none
    or a file says otherwise.

    \b
    attnlab train --data mnist --root DIR --defense madry+aad
    attnlab train --data cifar10 --root DIR --defense alp+aad --device cuda --precision bf16
    torchrun --nproc-per-node 8 -m attnlab_cli train --data imagenet --root DIR --defense alp+aad --precision bf16
    """  # noqa: D301 - click wants the backspace itself
    with uncollected():
        from attnlab.models.own_code import is_own_code
        from attnlab.pipelines.train import prepare_training

    with prepare_training(config) as training:
        if not training.world.first:
            training.run()
            return
        if training.summary:
            click.echo(printable(training.summary), err=True)
        with training_progress(training.plan.epochs, training.steps, training.folder) as shown:
            training.run(*shown)
        named = training.folder if not is_own_code(training.model) else f"{training.model} --weights {training.folder}"
        click.echo(f"{training.folder} holds the best checkpoint: attnlab evaluate --model {named} ...")


train.help = inspect.cleandoc(train.help or "").replace("PLANS", plan_rows())
