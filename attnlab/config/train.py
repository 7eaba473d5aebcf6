"""Configurations of a training, and of trainings over a grid of alpha and beta."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnlab.attacks.parse import parse_eps
from attnlab.config.attack import step_size
from attnlab.config.option import Options, option, variant
from attnlab.config.sections import DataOptions, ModelOptions, RunOptions, numbers
from attnlab.data import check_label
from attnlab.errors import UserError
from attnlab.stores import Url
from attnlab.training.parse import parse_defense
from attnlab.training.recipes import DEFAULT_PLAN, plan_for


def training_seed(seed: int, _flag: str) -> None:
    """Refuse a seed that torch's generators do not take."""
    if not -(2**63) <= seed < 2**63:
        raise UserError("expected --seed of at most 63 bits, got a larger number")


@dataclass(frozen=True)
class DefenseOptions(Options):
    """The training loss.

    Attributes:
        name: {defenses}.
        loss_weight: Weight of the loss's second part: of alp's pairing, of the divergence in trades and mart; by
            default {weighted}.
        attention_loss: How +aad measures attention, and what that implies where no option says another:
            {attention_losses}; by default mean.
        fill: Colour that replaces attended pixels, for +aad: {fills}; by default as --attention-loss implies.
        classification: Classification loss: {classifications} (the paper's section 4.2); by default cross-entropy, or
            as --attention-loss implies.
        awp_gamma: Size of the weights' perturbation, for +awp, as a share of each tensor's norm; by default 0.01, for
            trades 0.005.
        awp_warmup: Epochs before the perturbation begins, for +awp; by default 0.
        sources: Static model of the ensemble defence; repeat it for each. --mean and --std do not apply to it: its
            images are normalised as it says itself.
    """

    name: str = option("aad", name="defense", check=lambda value, _flag: parse_defense(value), kinds=("defenses",))
    loss_weight: float | None = None
    attention_loss: str | None = option(None, names="attention losses")
    fill: str | None = None
    classification: str | None = option(None, names="classifications")
    awp_gamma: float | None = None
    awp_warmup: float | None = None
    sources: tuple[str, ...] = option((), metavar="CHECKPOINT")


@dataclass(frozen=True)
class WeightedDefenseOptions(DefenseOptions):
    """The training loss, with the weights of the attention losses.

    Attributes:
        alpha: Weight of attention rectification, for +aad; by default as --attention-loss implies; 0 turns it off.
        beta: Weight of attention preservation, for +aad; by default as --attention-loss implies; 0 turns it off.
    """

    alpha: float | None = None
    beta: float | None = None


@dataclass(frozen=True)
class TrainingDataOptions(Options):
    """Images to train on.

    Attributes:
        name: Data set; its training split is used.
        limit: Number of training images to use; by default all.
        label: As for `analyze`.
    """

    name: str = variant(DataOptions, "name")
    root: Path | Url | None = variant(DataOptions, "root")
    limit: int | None = variant(DataOptions, "limit", decides=True, smoke=8)
    label: str | None = variant(DataOptions, "label")

    def __post_init__(self) -> None:
        """Check what several options say together."""
        super().__post_init__()
        check_label(self.name, self.label)


@dataclass(frozen=True)
class TrainedModelOptions(ModelOptions):
    """The network to train, and what it starts from.

    Attributes:
        name: As for `analyze`; by default the plan's: {plan_models}.
        weights: What to start from, as for `analyze`; by default the plan's.
    """

    name: str | None = variant(ModelOptions, "name", decides=False)
    weights: str | None = variant(ModelOptions, "weights", default=None, decides=False)


@dataclass(frozen=True)
class PlanOptions(Options):
    """How long, how fast and under which attack; all but the name replace a value of the plan.

    Attributes:
        name: Training plan: `short`, or `paper`, the paper's section 5.1. `attnlab train --help` lists their values,
            docs/training.md those that the paper does not give.
        epochs: Number of epochs. This option and all down to --ema replace a value of the plan.
        batch_size: Images per training step, over all processes.
        learning_rate: Highest learning rate of the schedule.
        eps: L-infinity budget of the training attack, pixels in [0, 1], a number or a fraction.
        step_size: Length of the training attack's steps, in the same form.
        steps: Number of the training attack's steps.
        ramp: Epochs over which the attack's eps and step size grow from 0.
        optimizer: Optimizer: adam (AdamW) or sgd (Nesterov momentum 0.9).
        schedule: Learning-rate schedule: constant, one-cycle or decay (x 0.94 every second epoch).
        weight_decay: Weight decay of all parameters.
        augment: Augmentation: none, crop-flip (4 pixels) or resized-crop-flip (8-100 % of the area).
        held_out: Number of training images kept for validation.
        ema: Decay, such as 0.999, of a moving average of the weights, validated and exported in their place.
    """

    name: str = option(DEFAULT_PLAN, name="plan")
    epochs: int | None = option(None, smoke=1)
    batch_size: int | None = option(None, smoke=4)
    learning_rate: float | None = None
    eps: float | None = option(None, parse=lambda text: parse_eps(text, "--eps"))
    step_size: float | None = option(None, parse=step_size)
    steps: int | None = option(None, smoke=1)
    ramp: float | None = None
    optimizer: str | None = option(None, names="optimizers")
    schedule: str | None = option(None, names="schedules")
    weight_decay: float | None = None
    augment: str | None = option(None, names="augmentations")
    held_out: int | None = option(None, smoke=4)
    ema: float | None = None


@dataclass(frozen=True)
class TrainingRunOptions(Options):
    """Folder, seed, device and speed of a training.

    Attributes:
        out: Folder; by default runs/DATA-MODEL-DEFENSE-SEED.
        seed: Seed of weights, order of images, augmentation, random starts and dropout.
        precision: Precision of forward and backward passes.
        memory_format: Memory format of the network.
        compiled: Compile the training step and the attack's passes with torch.compile.
        cuda_graph: On a GPU: record the attack as a CUDA graph and replay it, which is faster than launching every
            kernel.
        snapshots: Keep every epoch's checkpoint in epochs/.
        tensorboard: Write curves to tensorboard/ too; needs attnlab[tensorboard].
        workers: Processes that decode images; by default one per core, at most 8, and 0 where there is nothing to
            decode.
    """

    out: Path | None = option(None, parse=Path)
    seed: int = variant(RunOptions, "seed", check=training_seed)
    device: str = variant(RunOptions, "device")
    precision: str = variant(RunOptions, "precision", choices=("fp32", "bf16"))
    memory_format: str = variant(
        RunOptions, "memory_format", default="channels-last", choices=("channels-last", "contiguous")
    )
    compiled: bool = option(False, flag="compile", decides=True)
    cuda_graph: bool = True
    snapshots: bool = False
    tensorboard: bool = False
    workers: int | None = variant(RunOptions, "workers")


@dataclass(frozen=True)
class TrainConfig(Options):
    """Configuration of `attnlab train`."""

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
    """Folder, seed, device and speed of trainings.

    Attributes:
        out: Folder; by default runs/DATA-sweep-DEFENSE-SEED.
    """

    out: Path | None = variant(TrainingRunOptions, "out")


@dataclass(frozen=True)
class SweepConfig(Options):
    """Configuration of `attnlab sweep`.

    Attributes:
        alphas: Weights of attention rectification, with commas between them.
        betas: Weights of attention preservation, with commas between them.
    """

    alphas: tuple[float, ...] = option((0.0, 0.001, 0.01, 0.1), parse=numbers, smoke=(0.01,))
    betas: tuple[float, ...] = option((0.0, 0.001, 0.01, 0.1), parse=numbers, smoke=(0.01,))
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
