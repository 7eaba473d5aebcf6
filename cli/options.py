"""Options that several commands share."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click

from attnlab.config.names import by_data, length
from attnlab.config.sections import EPS_BY_DATA, STARTING
from attnlab.models import LAYOUTS, PRECISIONS

from .completion import a_length, a_model, a_split, names_of, one_of

Command = Callable[..., Any]
Option = Callable[[Command], Command]


MODEL = click.option(
    "--model",
    shell_complete=names_of("models", or_file=True),
    callback=a_model,
    help="A torchvision name, timm:NAME, FILE.py:FUNCTION, a checkpoint folder or one of attnlab's own; "
    f"by default the data set's: {by_data(lambda spec: spec.model)}.",
)

WEIGHTS = click.option(
    "--weights",
    default="default",
    show_default=True,
    shell_complete=names_of(or_file=True),
    help="`default` (the model's own), `none` (random, seeded), a .safetensors or .pth file, or a checkpoint folder.",
)

WEIGHTS_KEY = click.option(
    "--weights-key",
    help="Which state dict of a file that holds several, such as state_dict_ema; or the prefix of the wanted "
    "tensors' names.",
)

SPLIT = click.option(
    "--split",
    shell_complete=names_of("splits"),
    callback=a_split,
    help=f"Split of the data set; by default {by_data(lambda spec: spec.split)}.",
)


def statistic(_context: click.Context, _parameter: click.Parameter, text: str | None) -> list[float] | None:
    """Parse `0.5` or `0.485,0.456,0.406` to a list of floats."""
    return None if text is None else numbers(_context, _parameter, text)


#: what images of --model are normalised with
NORMALISATION = (
    click.option(
        "--mean",
        callback=statistic,
        help="Mean that the model needs its images normalised with, of pixels in [0, 1]: one number, or one for "
        "each colour channel with commas between them; needs --std. By default the network's own, where its "
        "`mean` and `std` are plain numbers; else images are not normalised.",
    ),
    click.option(
        "--std",
        callback=statistic,
        help="Standard deviation, in the same form as --mean, and needs it; --mean 0 --std 1 is for a network "
        "that normalises its images itself.",
    ),
)

TRUST = click.option(
    "--trust-code",
    is_flag=True,
    help="Run the FILE.py that a checkpoint folder or a run names, which is refused otherwise; print its path and "
    "SHA-256 first (docs/security.md).",
)

DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    shell_complete=names_of("devices"),
    help="Device to compute on: auto (the first GPU, else the CPU), cpu, cuda, cuda:1, ...",
)

SHARED = (
    click.option(
        "--data",
        is_eager=True,  # which splits there are depends on it
        default="scenes",
        show_default=True,
        shell_complete=names_of("data"),
        callback=one_of("data"),
        help="Data set; `attnlab list` names them.",
    ),
    click.option(
        "--root", type=click.Path(path_type=Path), help="Folder that holds the data set's files; scenes needs none."
    ),
    SPLIT,
    MODEL,
    WEIGHTS,
    WEIGHTS_KEY,
    *NORMALISATION,
    TRUST,
    DEVICE,
    click.option(
        "--precision",
        type=click.Choice(list(PRECISIONS)),
        default="fp32",
        show_default=True,
        help="Precision of the network's arithmetic.",
    ),
    click.option(
        "--layout",
        type=click.Choice(list(LAYOUTS)),
        default="folded",
        show_default=True,
        help="Memory layout of the network: `folded` is channels-last with batch norms folded into convolutions, "
        "which changes the last digits only; `channels-last` is slower by up to a tenth (LIME by a "
        "quarter), `contiguous` by a third.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        help="Images per forward pass; by default a number that suits device and model.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=0),
        help="Processes that decode images and cut superpixels; by default one per core, at most 8, and 0 where "
        "there is nothing to decode or cut.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        help="Number of images to use: the first ones, or with --stratify some of every class. By default all.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        help="Run folder; by default one below runs/, named after data, split and model. A run there that was "
        "made with the same options is resumed.",
    ),
)


ANY_SPLIT = click.option(
    "--split",
    shell_complete=names_of("splits"),
    callback=a_split,
    help=f"Split of the data set; by default {by_data(lambda spec: spec.accuracy_split)}.",
)

#: what an attack is made of beside its name and eps
STRENGTH = (
    click.option(
        "--steps",
        type=int,
        help="Number of steps of iterative attacks whose name carries no number; by default "
        f"{by_data(lambda spec: str(spec.budget.steps))}.",
    ),
    click.option(
        "--step-size",
        callback=a_length("--step-size"),
        help="Length of an iterative attack's steps, pixels in [0, 1], as a number or a fraction; by default "
        f"{by_data(lambda spec: length(spec.budget.step_size))} (Madry et al. 2018).",
    ),
    click.option("--restarts", default=1, show_default=True, help=f"Number of random starts of {STARTING}."),
    click.option(
        "--sigma",
        default=10.0,
        show_default=True,
        help="Weight of the attention deviation that +a3 adds to an attack's objective.",
    ),
)

ATTACK = (
    click.option(
        "--eps",
        callback=a_length("eps"),
        help=f"L-infinity budget, pixels in [0, 1], as a number or a fraction; by default the paper's: {EPS_BY_DATA}.",
    ),
    *STRENGTH,
    click.option(
        "--layer",
        help="Module whose output Grad-CAM reads, for +a3; by default the last feature map before the pool, of a "
        "vision transformer the first norm of its last block.",
    ),
    click.option(
        "--geometry",
        default="squash",
        show_default=True,
        shell_complete=names_of("geometries"),
        callback=one_of("geometries"),
        help="How images reach the model's size: `squash` (aspect not kept) or `crop` (shorter side, then the centre).",
    ),
    click.option(
        "--seed", default=0, show_default=True, help="Seed of random starts, combined with each image's name."
    ),
    click.option("--stratify", is_flag=True, help="Let --limit take images of all classes in turn, drawn with --seed."),
    click.option(
        "--transfer",
        metavar="MODEL",
        shell_complete=names_of("models", or_file=True),
        help="Make the adversarial images on this model instead. --mean and --std do not apply to it: its images "
        "are normalised as it says itself.",
    ),
)

LIME_GT = click.option(
    "--lime-gt",
    type=click.Choice(["matched", "box"]),
    default="matched",
    show_default=True,
    help="What LIME areas are compared with: `matched`, the box scaled about its centre to the area's size, or `box`, "
    "the box as it is.",
)

FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "latex", "markdown", "json"]),
    help="Print the tables in this format, alone on standard output, for pipes; see `attnlab tables --help`.",
)


#: what --smoke puts in the place of a command's options, as far as it has them
SMALLEST = {"limit": 4, "lime_samples": "20", "restarts": 1}
SMALLEST_TRAINING = {
    "epochs": 1,
    "limit": 8,
    "batch_size": 4,
    "held_out": 4,
    "steps": 1,
    "alphas": [0.01],
    "betas": [0.01],
}


def smoke_option(command: Command, smallest: Mapping[str, Any], told: str) -> Command:
    """Add --smoke, which runs a command as it is but for these values; `told` names them for people."""

    @wraps(command)
    def run(smoke: bool, out: Path | None, **options: Any) -> None:
        if smoke:
            options |= {name: value for name, value in smallest.items() if name in options}
            out = out or Path("runs") / f"smoke-{datetime.now():%Y%m%d-%H%M%S-%f}"  # the full run's folder stays free
        command(out=out, **options)

    text = f"Try the command at its smallest size, {told}; in runs/smoke-TIME unless --out is given."
    return click.option("--smoke", is_flag=True, help=text)(run)


def shared_options(command: Command, instead: Mapping[Option, Option] | None = None) -> Command:
    """Add the options that every command on data and a model has, some of them replaced."""
    command = smoke_option(command, SMALLEST, "on 4 images (LIME with 20 samples, attacks from one start)")
    for option in reversed(SHARED):
        command = (instead or {}).get(option, option)(command)
    return command


def attack_options(command: Command, options: Sequence[Option] = ATTACK) -> Command:
    """Add the options of commands that attack for accuracy's sake, or others in their place."""
    for option in reversed(options):
        command = option(command)
    return command


def whole_numbers(_context: click.Context, _parameter: click.Parameter, text: str | None) -> list[int] | None:
    """Parse `5,10,20` to a list of ints."""
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected whole numbers with commas between them, got {text!r}") from None


def numbers(_context: click.Context, _parameter: click.Parameter, text: str) -> list[float]:
    """Parse `0,0.01,0.1` to a list of floats."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected numbers with commas between them, got {text!r}") from None


def names(_context: click.Context, _parameter: click.Parameter, text: str) -> list[str]:
    """Parse `a,b` to a list, which is empty where nothing was said."""
    return [part.strip() for part in text.split(",") if part.strip()]
