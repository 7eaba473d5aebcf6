"""Defences by name: the losses they descend and the attacks that make their images; no torch before one is used."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from attnlab.attacks import OBJECTIVES, Attack
from attnlab.attention import MapFunction
from attnlab.errors import UserError
from attnlab.registry import Lazy, Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

AAD = "+aad"  # what joins a defence's name to make it rectify and preserve attention too
WEIGHT = 0.01  # alpha and beta of section 5.4
Classification = Callable[["Tensor", "Tensor"], "Tensor"]  # (logits (N, K), labels (N,)) -> mean loss over the batch


class Loss(NamedTuple):
    """A loss of logits."""

    #: (logits of each kind in `reads`, labels, classification loss, weight) -> named terms, whose sum is descended
    terms: Callable[[Mapping[str, "Tensor"], "Tensor", Classification, float], dict[str, "Tensor"]]
    reads: tuple[str, ...] = ("clean", "adversarial")  # which images' logits it needs


_IN = "attnlab.training.losses"
#: losses of the logits; a new one is a function and a line here
LOSSES = Registry(
    "loss",
    {
        "clean": Loss(Lazy(f"{_IN}:clean"), reads=("clean",)),
        "adversarial": Loss(Lazy(f"{_IN}:adversarial"), reads=("adversarial",)),
        "mixed": Loss(Lazy(f"{_IN}:mixed")),
        "alp": Loss(Lazy(f"{_IN}:alp")),
        "trades": Loss(Lazy(f"{_IN}:trades")),
        "mart": Loss(Lazy(f"{_IN}:mart")),
    },
)
#: what images are classified by
CLASSIFICATIONS: Registry[Classification] = Registry(
    "classification loss",
    {"cross-entropy": Lazy("torch.nn.functional:cross_entropy"), "soft-margin": Lazy(f"{_IN}:soft_margin")},
)
#: what hides the attended pixels from the masked image (eq. 7): a value in [0, 1]
FILLS = Registry("fill", {"black": 0.0, "grey": 0.5})


class AttentionLoss(NamedTuple):
    """How the attention terms L_r and L_p are measured, and what goes with them."""

    #: (logits, masked logits) -> a part of L_r of each image (N,), of which the mean over the batch is taken
    rectification: Callable[["Tensor", "Tensor"], "Tensor"]
    preservation: Callable[["Tensor", "Tensor"], "Tensor"]  # (maps, adversarial maps) -> L_p of each image, (N,)
    implies: Mapping[str, Any]  # field of `Defense` -> its value, where no option says another
    fixed: Sequence[str] = ()  # those of them that no option may contradict
    summed: bool = False  # L_p is summed over the batch, where it is averaged otherwise
    maps: MapFunction | None = None  # what is attended by; None for Grad-CAM


_BLACK = {"alpha": WEIGHT, "beta": WEIGHT, "fill": "black"}
_CODE = {"alpha": 4.0, "beta": 1.0, "fill": "grey", "classification": "soft-margin", "logits_weight": 8.0}
#: measures of attention, and the defaults that each implies; a new one is its functions and a line here. `code`: the
#: authors' cifar10_train.py (docs/protocol.md has its source)
ATTENTION_LOSSES = Registry(
    "--attention-loss",
    {
        "mean": AttentionLoss(Lazy(f"{_IN}:rectification"), Lazy(f"{_IN}:preservation"), _BLACK),
        "sum": AttentionLoss(Lazy(f"{_IN}:rectification"), Lazy(f"{_IN}:summed_preservation"), _BLACK),
        "code": AttentionLoss(
            Lazy(f"{_IN}:squared_rectification"),
            Lazy(f"{_IN}:squared_preservation"),
            _CODE,
            fixed=("fill",),
            summed=True,
            maps=Lazy(f"{_IN}:softmax_maps"),
        ),
    },
)

#: (network, what leaves the loss's gradient in each `.grad`, gamma) -> context in which the weights are others
Perturbation = Callable[["nn.Module", Callable[[], object], float], AbstractContextManager[None]]
_MOVES = "attnlab.training.perturbations"
#: at which weights a step's gradient is taken; a new perturbation is a function and a line here
PERTURBATIONS: Registry[Perturbation] = Registry(
    "perturbation", {"none": Lazy(f"{_MOVES}:unperturbed"), "awp": Lazy(f"{_MOVES}:awp")}
)


@dataclass(frozen=True)
class Defense:
    """Settings of a defence: plain values, so that `dataclasses.asdict` is its provenance.

    Attributes:
        loss: Name in LOSSES of the loss of the logits.
        weight: Of that loss's second part: lambda of alp and mart, beta of trades.
        objective: Name in OBJECTIVES of what the attack climbs that makes the adversarial images.
        single_step: That attack is one step of eps from the image; otherwise a few from a random start.
        stride: Where that step is to start from a random point instead: how many eps it is long.
        ensemble: Each batch is attacked by a source drawn from static classifiers and the current one.
        alpha: Weight of L_r, attention rectification (eq. 10 of the paper); 0 for none, and then it is not computed.
        beta: Weight of L_p, attention preservation (eq. 10); likewise.
        fill: Name in FILLS of what hides the attended pixels in L_r.
        attention_loss: Name in ATTENTION_LOSSES of how L_r and L_p are measured.
        logits_weight: Weight of the loss of the logits beside them.
        classification: Name in CLASSIFICATIONS of L_c, what the images are classified by.
        perturbation: Name in PERTURBATIONS of how weights are moved while a step's gradient is taken.
        gamma: How far, in shares of each weight's norm.
        warmup: Epochs before it begins.

    Raises:
        UserError: If a name is unknown or a value out of range.
    """

    loss: str
    weight: float = 0.0
    objective: str = "cross-entropy"
    single_step: bool = False
    stride: float = 0.0
    ensemble: bool = False
    alpha: float = 0.0
    beta: float = 0.0
    fill: str = "black"
    attention_loss: str = "mean"
    logits_weight: float = 1.0
    classification: str = "cross-entropy"
    perturbation: str = "none"
    gamma: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        LOSSES.expect(self.loss)
        OBJECTIVES.expect(self.objective)
        FILLS.expect(self.fill)
        measured = ATTENTION_LOSSES.expect(self.attention_loss)
        for name in measured.fixed:
            if (value := getattr(self, name)) != (own := measured.implies[name]):
                raise UserError(f"expected --{name} {own} with --attention-loss {self.attention_loss}, got {value}")
        CLASSIFICATIONS.expect(self.classification)
        PERTURBATIONS.expect(self.perturbation)
        for name in ("weight", "alpha", "beta", "logits_weight", "stride", "warmup"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise UserError(f"expected {name} of at least 0, got {value:g}")
        if self.stride and not self.single_step:
            raise UserError(f"expected a stride with a single step alone, got {self.stride:g}")
        if not (0 < self.gamma < 1 if self.perturbation != "none" else self.gamma == 0):
            raise UserError(
                f"expected gamma between 0 and 1 where weights are perturbed, and 0 elsewhere, got {self.gamma:g} with "
                f"the perturbation {self.perturbation}"
            )
        if self.loss == "mart" and self.classification != "cross-entropy":
            by_default = measured.implies.get("classification") == self.classification
            hint = f", the default of --attention-loss {self.attention_loss}" if by_default else ""
            raise UserError(
                f"expected cross-entropy with mart, whose own loss builds on it, got {self.classification}{hint}; did "
                "you mean --classification cross-entropy?"
            )

    @property
    def attends(self) -> bool:
        """Whether it looks at attention: L_r or L_p is switched on."""
        return self.alpha > 0 or self.beta > 0

    @property
    def reads(self) -> tuple[str, ...]:
        """Which images it passes through the classifier: "clean", "adversarial" or both."""
        return ("clean", "adversarial") if self.attends else LOSSES[self.loss].reads

    def attack(self, eps: float, steps: int, step_size: float | None = None) -> Attack:
        """The attack that makes its adversarial images; a single step is eps or `stride` times eps long."""
        if self.stride:
            return Attack(self.objective, eps, 1, min(1.0, self.stride * eps), random_start=True)
        if self.single_step:
            return Attack(self.objective, eps)
        return Attack(self.objective, eps, steps, step_size, random_start=True)


#: defences, each also with the endings below; a new one is a line here. Weights as published.
DEFENSES = Registry(
    "defense",
    {
        "none": Defense("clean"),
        "madry": Defense("adversarial"),
        "mixed": Defense("mixed"),
        "fast": Defense("adversarial", single_step=True, stride=1.25),
        "alp": Defense("alp", weight=0.5),
        "trades": Defense("trades", weight=6.0, objective="divergence"),
        "mart": Defense("mart", weight=5.0),
        "stepll": Defense("mixed", objective="least-likely", single_step=True),
        "ensemble": Defense("mixed", objective="least-likely", single_step=True, ensemble=True),
    },
)


class Ending(NamedTuple):
    """Ending that may follow the name of every defence."""

    changes: Mapping[str, Any]  # field of `Defense` -> its value, where no option says another
    options: Mapping[str, str]  # option of `parse_defense` that is refused without it -> the field it sets
    others: Mapping[str, Mapping[str, Any]] = MappingProxyType({})  # defence -> what is published for it instead
    #: option whose value is a name -> registry in which that name `implies` further changes
    named: Mapping[str, Registry[Any]] = MappingProxyType({})


#: endings, of which several may stand behind one name that change different fields; a new one is a line here
ENDINGS = Registry(
    "ending",
    {
        AAD: Ending(
            ATTENTION_LOSSES["mean"].implies,
            {name: name for name in ("alpha", "beta", "fill", "attention_loss")},
            named={"attention_loss": ATTENTION_LOSSES},
        ),
        "+awp": Ending(
            {"perturbation": "awp", "gamma": 0.01},
            {"awp_gamma": "gamma", "awp_warmup": "warmup"},
            others={"trades": {"gamma": 0.005}},
        ),
    },
)
SHORT = {"aad": "madry+aad"}  # what has a short name of its own
