"""`attnlab train`."""

import inspect
from pathlib import Path
from typing import Any

import click

from attnlab.config.names import length
from attnlab.training import DEFENSES, FILLS
from attnlab.training.parse import defense_names
from attnlab.training.plan import all_plans

from .completion import a_defense, a_length, a_model, a_plan, names_of, one_of
from .console import training_progress
from .options import DEVICE, NORMALISATION, SMALLEST_TRAINING, TRUST, WEIGHTS_KEY, Command, smoke_option

#: networks that plans train
MODELS = list(dict.fromkeys(plan.model for plans in all_plans().values() for plan in plans.values()))
WEIGHTED = ", ".join(f"{defense.weight:g} for {name}" for name, defense in DEFENSES.items() if defense.weight)
#: what a training and a sweep of them have in common
OPTIONS = (
    click.option(
        "--defense",
        default="aad",
        show_default=True,
        shell_complete=names_of("defenses"),
        callback=a_defense,
        help=f"{', '.join(defense_names())}.",
    ),
    click.option(
        "--data",
        is_eager=True,  # which plans there are depends on it
        default="scenes",
        show_default=True,
        shell_complete=names_of("data"),
        callback=one_of("data"),
        help="Data set; its training split is used.",
    ),
    click.option(
        "--root", type=click.Path(path_type=Path), help="Folder that holds the data set's files; scenes needs none."
    ),
    click.option(
        "--model",
        shell_complete=names_of("models", or_file=True),
        callback=a_model,
        help=f"As for `analyze`; by default the plan's: {', '.join(MODELS)}.",
    ),
    click.option(
        "--weights",
        shell_complete=names_of(or_file=True),
        help="What to start from, as for `analyze`; by default the plan's.",
    ),
    WEIGHTS_KEY,
    click.option(
        "--layer",
        help="Module whose output Grad-CAM reads; by default the last feature map before the pool, of a vision "
        "transformer the first norm of its last block.",
    ),
    *NORMALISATION,
    click.option(
        "--plan",
        callback=a_plan,
        default="short",
        show_default=True,
        help="Training plan: `short`, or `paper`, the paper's section 5.1. `attnlab train --help` lists their values, "
        "docs/training.md those that the paper does not give.",
    ),
    click.option(
        "--epochs",
        type=int,
        help="Number of epochs. This option and all down to --held-out replace a value of the plan.",
    ),
    click.option("--batch-size", type=int, help="Images per training step, over all processes."),
    click.option("--learning-rate", type=float, help="Highest learning rate of the schedule."),
    click.option(
        "--eps",
        callback=a_length("--eps"),
        help="L-infinity budget of the training attack, pixels in [0, 1], a number or a fraction.",
    ),
    click.option(
        "--step-size", callback=a_length("--step-size"), help="Length of the training attack's steps, in the same form."
    ),
    click.option("--steps", type=int, help="Number of the training attack's steps."),
    click.option("--ramp", type=float, help="Epochs over which the attack's eps and step size grow from 0."),
    click.option(
        "--optimizer",
        shell_complete=names_of("optimizers"),
        callback=one_of("optimizers"),
        help="Optimizer: adam (AdamW) or sgd (Nesterov momentum 0.9).",
    ),
    click.option(
        "--schedule",
        shell_complete=names_of("schedules"),
        callback=one_of("schedules"),
        help="Learning-rate schedule: constant, one-cycle or decay (x 0.94 every second epoch).",
    ),
    click.option("--weight-decay", type=float, help="Weight decay of all parameters."),
    click.option(
        "--augment",
        shell_complete=names_of("augmentations"),
        callback=one_of("augmentations"),
        help="Augmentation: none, crop-flip (4 pixels) or resized-crop-flip (8-100 % of the area).",
    ),
    click.option("--held-out", type=int, help="Number of training images kept for validation."),
    click.option(
        "--loss-weight",
        type=float,
        help="Weight of the loss's second part: of alp's pairing, of the divergence in trades and mart; by "
        f"default {WEIGHTED}.",
    ),
    click.option(
        "--fill", help=f"Colour that replaces attended pixels, for +aad: {' or '.join(FILLS)}; by default black."
    ),
    click.option(
        "--classification",
        default="cross-entropy",
        show_default=True,
        help="Classification loss: cross-entropy or soft-margin (the paper's section 4.2).",
    ),
    click.option(
        "--sources",
        multiple=True,
        metavar="CHECKPOINT",
        help="Static model of the ensemble defence; repeat it for each. --mean and --std do not apply to it: its "
        "images are normalised as it says itself.",
    ),
    click.option(
        "--seed",
        default=0,
        show_default=True,
        help="Seed of weights, order of images, augmentation, random starts and dropout.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Number of training images to use; by default all."),
    TRUST,
    DEVICE,
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        default="fp32",
        show_default=True,
        help="Precision of forward and backward passes.",
    ),
    click.option(
        "--layout",
        type=click.Choice(["channels-last", "contiguous"]),
        default="channels-last",
        show_default=True,
        help="Memory layout of the network.",
    ),
    click.option(
        "--compile",
        "compiled",
        is_flag=True,
        help="Compile the training step and the attack's passes with torch.compile.",
    ),
    click.option(
        "--cuda-graph/--no-cuda-graph",
        default=True,
        show_default=True,
        help="On a GPU: record the attack as a CUDA graph and replay it, which is faster than launching every kernel.",
    ),
    click.option("--snapshots", is_flag=True, help="Keep every epoch's checkpoint in epochs/."),
    click.option("--tensorboard", is_flag=True, help="Write curves to tensorboard/ too; needs attnlab[tensorboard]."),
    click.option(
        "--workers",
        type=click.IntRange(min=0),
        help="Processes that decode images; by default one per core, at most 8, and 0 where there is nothing to "
        "decode.",
    ),
)


def training_options(command: Command) -> Command:
    """Add the options that every command that trains has."""
    command = smoke_option(command, SMALLEST_TRAINING, "one epoch of 8 images under one step of attack")
    for option in reversed(OPTIONS):
        command = option(command)
    return command


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
@training_options
@click.option(
    "--alpha", type=float, help="Weight of attention rectification, for +aad; by default 0.01, and 0 turns it off."
)
@click.option(
    "--beta", type=float, help="Weight of attention preservation, for +aad; by default 0.01, and 0 turns it off."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder; by default runs/DATA-MODEL-DEFENSE-SEED.")
def train(**options: Any) -> None:
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
    from attnlab.models.own_code import is_own_code
    from attnlab.pipelines.train_job import prepare_training

    with prepare_training(**options) as training:
        if not training.world.first:
            training.run()
            return
        with training_progress(training.plan.epochs, training.steps, training.folder) as shown:
            training.run(*shown)
        named = training.folder if not is_own_code(training.model) else f"{training.model} --weights {training.folder}"
        click.echo(f"{training.folder} holds the best checkpoint: attnlab evaluate --model {named} ...")


train.help = inspect.cleandoc(train.help or "").replace("PLANS", plan_rows())
