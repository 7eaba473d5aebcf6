"""Configurations of a training, and of trainings over a grid of alpha and beta."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnlab.attacks.parse import parse_eps
from attnlab.config.option import Options, option, variant
from attnlab.config.sections import DataOptions, ModelOptions, RunOptions, numbers, one_of, step_size
from attnlab.errors import UserError
from attnlab.training import DEFENSES, FILLS
from attnlab.training.parse import defense_names, parse_defense
from attnlab.training.recipes import DEFAULT_PLAN, all_plans, plan_for

#: networks that plans train
MODELS = list(dict.fromkeys(plan.model for plans in all_plans().values() for plan in plans.values()))
WEIGHTED = ", ".join(f"{defense.weight:g} for {name}" for name, defense in DEFENSES.items() if defense.weight)


def training_eps(text: str) -> float:
    """Budget of the training attack, see `parse_eps`."""
    return parse_eps(text, "--eps")


def training_seed(seed: int, _flag: str) -> None:
    """Refuse a seed that torch's generators do not take."""
    if not -(2**63) <= seed < 2**63:
        raise UserError("expected --seed of at most 63 bits, got a larger number")


@dataclass(frozen=True)
class DefenseOptions(Options):
    """What is descended."""

    name: str = option(
        "aad",
        f"{', '.join(defense_names())}.",
        name="defense",
        check=lambda value, _flag: parse_defense(value),
        kinds=("defenses",),
    )
    loss_weight: float | None = option(
        None,
        "Weight of the loss's second part: of alp's pairing, of the divergence in trades and mart; by default "
        f"{WEIGHTED}.",
    )
    fill: str | None = option(
        None, f"Colour that replaces attended pixels, for +aad: {' or '.join(FILLS)}; by default black."
    )
    classification: str = option(
        "cross-entropy", "Classification loss: cross-entropy or soft-margin (the paper's section 4.2)."
    )
    awp_gamma: float | None = option(
        None,
        "Size of the weights' perturbation, for +awp, as a share of each tensor's norm; by default 0.01, for trades "
        "0.005.",
    )
    awp_warmup: float | None = option(None, "Epochs before the perturbation begins, for +awp; by default 0.")
    sources: tuple[str, ...] = option(
        (),
        "Static model of the ensemble defence; repeat it for each. --mean and --std do not apply to it: its images are "
        "normalised as it says itself.",
        metavar="CHECKPOINT",
    )


@dataclass(frozen=True)
class WeightedDefenseOptions(DefenseOptions):
    """What is descended, with the weights of the attention losses."""

    alpha: float | None = option(
        None, "Weight of attention rectification, for +aad; by default 0.01, and 0 turns it off."
    )
    beta: float | None = option(
        None, "Weight of attention preservation, for +aad; by default 0.01, and 0 turns it off."
    )


@dataclass(frozen=True)
class TrainingDataOptions(Options):
    """Images to train on."""

    name: str = variant(DataOptions, "name", help="Data set; its training split is used.")
    root: Path | None = variant(DataOptions, "root")
    limit: int | None = variant(
        DataOptions, "limit", help="Number of training images to use; by default all.", decides=True, smoke=8
    )


@dataclass(frozen=True)
class TrainedModelOptions(ModelOptions):
    """The network to train, and what it starts from."""

    name: str | None = variant(
        ModelOptions, "name", help=f"As for `analyze`; by default the plan's: {', '.join(MODELS)}.", decides=False
    )
    weights: str | None = variant(
        ModelOptions,
        "weights",
        default=None,
        help="What to start from, as for `analyze`; by default the plan's.",
        decides=False,
    )


@dataclass(frozen=True)
class PlanOptions(Options):
    """How long, how fast and under which attack; all but the name replace a value of the plan."""

    name: str = option(
        DEFAULT_PLAN,
        "Training plan: `short`, or `paper`, the paper's section 5.1. `attnlab train --help` lists their values, "
        "docs/training.md those that the paper does not give.",
        name="plan",
    )
    epochs: int | None = option(
        None, "Number of epochs. This option and all down to --ema replace a value of the plan.", smoke=1
    )
    batch_size: int | None = option(None, "Images per training step, over all processes.", smoke=4)
    learning_rate: float | None = option(None, "Highest learning rate of the schedule.")
    eps: float | None = option(
        None,
        "L-infinity budget of the training attack, pixels in [0, 1], a number or a fraction.",
        parse=training_eps,
    )
    step_size: float | None = option(None, "Length of the training attack's steps, in the same form.", parse=step_size)
    steps: int | None = option(None, "Number of the training attack's steps.", smoke=1)
    ramp: float | None = option(None, "Epochs over which the attack's eps and step size grow from 0.")
    optimizer: str | None = option(
        None,
        "Optimizer: adam (AdamW) or sgd (Nesterov momentum 0.9).",
        check=one_of("optimizers"),
        kinds=("optimizers",),
    )
    schedule: str | None = option(
        None,
        "Learning-rate schedule: constant, one-cycle or decay (x 0.94 every second epoch).",
        check=one_of("schedules"),
        kinds=("schedules",),
    )
    weight_decay: float | None = option(None, "Weight decay of all parameters.")
    augment: str | None = option(
        None,
        "Augmentation: none, crop-flip (4 pixels) or resized-crop-flip (8-100 % of the area).",
        check=one_of("augmentations"),
        kinds=("augmentations",),
    )
    held_out: int | None = option(None, "Number of training images kept for validation.", smoke=4)
    ema: float | None = option(
        None, "Decay, such as 0.999, of a moving average of the weights, validated and exported in their place."
    )


@dataclass(frozen=True)
class TrainingRunOptions(Options):
    """Where and how a training runs."""

    out: Path | None = option(None, "Folder; by default runs/DATA-MODEL-DEFENSE-SEED.", parse=Path)
    seed: int = variant(
        RunOptions,
        "seed",
        help="Seed of weights, order of images, augmentation, random starts and dropout.",
        check=training_seed,
    )
    device: str = variant(RunOptions, "device")
    precision: str = variant(
        RunOptions, "precision", choices=("fp32", "bf16"), help="Precision of forward and backward passes."
    )
    layout: str = variant(
        RunOptions,
        "layout",
        default="channels-last",
        choices=("channels-last", "contiguous"),
        help="Memory layout of the network.",
    )
    compiled: bool = option(
        False, "Compile the training step and the attack's passes with torch.compile.", flag="compile", decides=True
    )
    cuda_graph: bool = option(
        True,
        "On a GPU: record the attack as a CUDA graph and replay it, which is faster than launching every kernel.",
    )
    snapshots: bool = option(False, "Keep every epoch's checkpoint in epochs/.")
    tensorboard: bool = option(False, "Write curves to tensorboard/ too; needs attnlab[tensorboard].")
    workers: int | None = variant(
        RunOptions,
        "workers",
        help="Processes that decode images; by default one per core, at most 8, and 0 where there is nothing to "
        "decode.",
    )


@dataclass(frozen=True)
class TrainConfig(Options):
    """What `attnlab train` trains, and how."""

    defense: WeightedDefenseOptions = field(default_factory=WeightedDefenseOptions)
    data: TrainingDataOptions = field(default_factory=TrainingDataOptions)
    model: TrainedModelOptions = field(default_factory=TrainedModelOptions)
    plan: PlanOptions = field(default_factory=PlanOptions)
    run: TrainingRunOptions = field(default_factory=TrainingRunOptions)

    def __post_init__(self) -> None:
        """Check what several options say together."""
        super().__post_init__()
        plan_for(self.data.name, self.plan.name)


@dataclass(frozen=True)
class SweepRunOptions(TrainingRunOptions):
    """Where and how trainings run."""

    out: Path | None = variant(TrainingRunOptions, "out", help="Folder; by default runs/DATA-sweep-DEFENSE-SEED.")


@dataclass(frozen=True)
class SweepConfig(Options):
    """What `attnlab sweep` trains, and how."""

    alphas: tuple[float, ...] = option(
        (0.0, 0.001, 0.01, 0.1),
        "Weights of attention rectification, with commas between them.",
        parse=numbers,
        smoke=(0.01,),
    )
    betas: tuple[float, ...] = option(
        (0.0, 0.001, 0.01, 0.1),
        "Weights of attention preservation, with commas between them.",
        parse=numbers,
        smoke=(0.01,),
    )
    defense: DefenseOptions = field(default_factory=DefenseOptions)
    data: TrainingDataOptions = field(default_factory=TrainingDataOptions)
    model: TrainedModelOptions = field(default_factory=TrainedModelOptions)
    plan: PlanOptions = field(default_factory=PlanOptions)
    run: SweepRunOptions = field(default_factory=SweepRunOptions)

    def __post_init__(self) -> None:
        """Check what several options say together."""
        super().__post_init__()
        plan_for(self.data.name, self.plan.name)

    def training(self, alpha: float, beta: float, out: Path) -> TrainConfig:
        """One training of the sweep."""
        values: dict[str, Any] = {**self.flat(), "alpha": alpha, "beta": beta, "out": out}
        return TrainConfig.of(**{name: value for name, value in values.items() if name not in ("alphas", "betas")})
