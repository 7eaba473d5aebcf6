"""How long, how fast and under which attack a model is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from attnlab.attacks.limits import check_budget, check_step
from attnlab.data import DATASETS
from attnlab.errors import UserError, check_one_of
from attnlab.registry import loaded

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "one-cycle", "decay")
#: epochs, images of a batch, steps of an attack: beyond it a number is a slip
MOST = 1_000_000
AUGMENTATIONS = ("none", "crop-flip", "resized-crop-flip")


@dataclass(frozen=True)
class Plan:
    """A training plan: plain values, so that `dataclasses.asdict` is its provenance; all are checked."""

    model: str  # name of the network that belongs to the data
    epochs: int
    batch_size: int  # over all processes
    learning_rate: float  # the highest
    eps: float  # L-infinity budget of the training attack, pixels in [0, 1]
    step_size: float  # of the attack, pixels in [0, 1]
    steps: int  # of the attack
    weights: str = "none"  # what it starts from, as `--weights`
    optimizer: str = "adam"  # or `sgd`, with Nesterov momentum 0.9
    #: or `one-cycle`, up over the first 30 %, then down to 0, step by step; or `decay`, x 0.94 every second epoch
    schedule: str = "constant"
    weight_decay: float = 0.0  # of all parameters
    #: epochs over which eps and the step grow from 0; a small net under the full eps at once can stay at chance
    ramp: float = 0.0
    #: or `crop-flip` (4 pixels of reflected border, mirrored half the time), or `resized-crop-flip` (8-100 % of the
    #: area, mirrored half the time)
    augment: str = "none"
    held_out: int = 1000  # training images kept for validation
    ema: float = 0.0  # decay of the moving average of the weights, which is validated and exported; 0 for none

    def __post_init__(self) -> None:
        check_one_of(self.optimizer, OPTIMIZERS, "--optimizer")
        check_one_of(self.schedule, SCHEDULES, "--schedule")
        check_one_of(self.augment, AUGMENTATIONS, "--augment")
        check_budget(self.eps, "--eps")
        check_step(self.step_size)
        for name in ("epochs", "batch_size", "steps"):
            option, value = f"--{name.replace('_', '-')}", getattr(self, name)
            if value < 1:
                raise UserError(f"expected {option} of at least 1, got {value}")
            if value > MOST:
                raise UserError(
                    f"expected {option} of at most {MOST}, got {str(value)[:30]}; such a training would never end"
                )
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"expected --learning-rate above 0, got {self.learning_rate:g}")
        if not 0 <= self.weight_decay < float("inf"):
            raise UserError(f"expected --weight-decay of at least 0, got {self.weight_decay:g}")
        if not 0 <= self.ema < 1:
            raise UserError(f"expected --ema in [0, 1), such as 0.999, got {self.ema:g}")
        if not 0 <= self.ramp < float("inf"):
            raise UserError(f"expected --ramp of at least 0 epochs, got {self.ramp:g}")


#: plans by name, as DATASETS names them. `paper`: section 5.1 and, for MNIST and CIFAR-10, the attacks of Madry et al.
#: (2018); what neither gives (docs/training.md lists it) is ours. `short` is the default and takes a fraction of the
#: time; docs/results/ has its results.
SCENES = {
    "short": Plan(  # from the built-in weights: two epochs on two cores then take less than ten minutes
        model="resnet8",
        epochs=2,
        batch_size=100,
        learning_rate=5e-3,
        eps=16 / 255,
        step_size=5 / 255,
        steps=4,
        weights="default",
        schedule="one-cycle",
        weight_decay=1e-2,
        ramp=0.5,
        held_out=500,
    ),
}
MNIST_SHORT = Plan(
    model="lenet", epochs=5, batch_size=100, learning_rate=1e-3, eps=0.3, step_size=0.075, steps=10, ramp=1
)
MNIST = {"short": MNIST_SHORT, "paper": replace(MNIST_SHORT, step_size=0.01, steps=40)}
CIFAR10_SHORT = Plan(
    model="resnet9",
    epochs=30,
    batch_size=128,
    learning_rate=0.2,
    eps=8 / 255,
    step_size=2 / 255,
    steps=7,
    optimizer="sgd",
    schedule="one-cycle",
    weight_decay=5e-4,
    augment="crop-flip",
)
CIFAR10_PAPER = replace(CIFAR10_SHORT, epochs=200, batch_size=100, learning_rate=1e-4, schedule="constant")
CIFAR10 = {"short": CIFAR10_SHORT, "paper": replace(CIFAR10_PAPER, optimizer="adam", weight_decay=0.0)}
IMAGENET_SHORT = Plan(
    model="resnet50",
    epochs=10,
    batch_size=128,
    learning_rate=0.02,
    eps=16 / 255,
    step_size=4 / 255,
    steps=5,
    weights="default",
    optimizer="sgd",
    schedule="one-cycle",
    weight_decay=1e-4,
    augment="resized-crop-flip",
    held_out=10_000,
)
IMAGENET = {
    "short": IMAGENET_SHORT,
    "paper": replace(IMAGENET_SHORT, epochs=30, learning_rate=0.045, schedule="decay", step_size=2 / 255, steps=10),
}
DEFAULT_PLAN = "short"


def plan_for(data: str, name: str = DEFAULT_PLAN) -> Plan:
    """The plan of that name for a data set."""
    if DATASETS.expect(data).plans is None:
        check_one_of(data, [known for known, spec in DATASETS.items() if spec.plans is not None], "--data")
    plans: Mapping[str, Plan] = loaded(DATASETS[data].plans)
    return plans[check_one_of(name, plans, f"--plan for {data}")]


def all_plans() -> dict[str, Mapping[str, Plan]]:
    """Data set -> its plans by name; those that several share under the first."""
    by_data: dict[str, Mapping[str, Plan]] = {}
    for name, spec in DATASETS.items():
        plans = loaded(spec.plans)
        if plans and not any(plans is others for others in by_data.values()):
            by_data[name] = plans
    return by_data
