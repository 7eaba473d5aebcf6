"""Attacks of the loop in `pgd` by name, what they climb and how they step; no torch before one is used."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from attnlab.attacks.limits import (
    MOST_PIXELS,
    MOST_RESTARTS,
    MOST_STEPS,
    check_budget,
    check_margin,
    check_sigma,
    check_softplus,
    check_target,
)
from attnlab.attacks.norms import NORMS
from attnlab.attention import METHODS
from attnlab.data.regions import WHERE
from attnlab.errors import UserError, check_between, check_one_of
from attnlab.registry import Lazy, Registry

if TYPE_CHECKING:
    from torch import Tensor

    from attnlab.arrays import Images, Labels, Logits, Maps, PerImage
    from attnlab.attacks.map_objectives import MapPoint

CLEAN = "clean"  # the image as it is, among the attacks of an evaluation
A3 = "+a3"  # what joins an attack's name to make it climb the attention deviation too


class Objective(NamedTuple):
    """Objective that an attack climbs."""

    # (logits, aim, label smoothing) -> value per image, (N,)
    value: Callable[["Logits", "Tensor", float], "PerImage"]
    # (function that makes the clean logits, labels) -> what `value` needs to know, fixed from the start: a class per
    # image, (N,), or probabilities, (N, K)
    aim: Callable[[Callable[[], "Logits"], "Labels"], "Tensor"]
    smooths: bool = False  # whether label smoothing changes it
    # of a targeted attack, whose aim is its target, in place of `value`; None: it has none
    towards: Callable[["Logits", "Tensor", float], "PerImage"] | None = None


_IN = "attnlab.attacks.objectives"
#: what an attack climbs; a new objective is a function and a line here
OBJECTIVES = Registry(
    "objective",
    {
        "cross-entropy": Objective(
            *(Lazy(f"{_IN}:cross_entropy"), Lazy(f"{_IN}:true_label")), smooths=True, towards=Lazy(f"{_IN}:towards")
        ),
        "least-likely": Objective(Lazy(f"{_IN}:towards"), Lazy(f"{_IN}:least_likely"), smooths=True),
        "margin": Objective(Lazy(f"{_IN}:cw"), Lazy(f"{_IN}:true_label"), towards=Lazy(f"{_IN}:cw_towards")),
        "divergence": Objective(Lazy(f"{_IN}:divergence"), Lazy(f"{_IN}:clean_probabilities")),
    },
)
_target_classes = Lazy(f"{_IN}:target_classes")


class MapObjective(NamedTuple):
    """Objective of an attack on maps, which leaves an image with the best point that it saw and not with the last."""

    # (what is seen of a point, margin that is held) -> value that is climbed there, (N,)
    value: Callable[["MapPoint", float], "PerImage"]
    # likewise -> how good the point is, (N,), float64; -inf where it must not be kept
    score: Callable[["MapPoint", float], "PerImage"]
    holds: Literal["prediction", "map"]  # what such an attack leaves as it is while it moves the other


_MAPS = "attnlab.attacks.map_objectives"
#: what an attack on maps climbs; a new one is two functions and a line here
MAP_OBJECTIVES = Registry(
    "objective",
    {
        "move-map": MapObjective(Lazy(f"{_MAPS}:move_map"), Lazy(f"{_MAPS}:moved"), holds="prediction"),
        "keep-map": MapObjective(Lazy(f"{_MAPS}:keep_map"), Lazy(f"{_MAPS}:kept"), holds="map"),
    },
)

_DISTANCES = "attnlab.attacks.map_distances"
#: how far maps have moved from clean ones: (clean maps, maps), both (N, h, w) -> (N,), 0 where they are equal, with a
#: gradient by the second; a new one is a function and a line here
DISTANCES: Registry[Callable[["Maps", "Maps"], "PerImage"]] = Registry(
    "--explain-distance",
    {
        "top-k": Lazy(f"{_DISTANCES}:mass_out_of_top_k"),
        "l2": Lazy(f"{_DISTANCES}:euclidean"),
        "cosine": Lazy(f"{_DISTANCES}:cosine"),
        "centre": Lazy(f"{_DISTANCES}:shift_of_centre"),
    },
)


#: what a step rule keeps from step to step: tensors with a row per image, none before the first step
State = tuple["Tensor", ...]


class Rule(NamedTuple):
    """How a step follows from gradients."""

    # (gradient (N, C, H, W), state, the norm's `steepest`) -> direction, a new tensor of length 1, and the next state
    direction: Callable[["Tensor", State, Callable[["Tensor"], "Tensor"]], tuple["Tensor", State]]
    # (point, state, step length) -> where the gradient is taken: the point itself while there is no state
    look: Callable[["Images", State, float], "Tensor"] | None = None  # None: at the point throughout


_RULES = "attnlab.attacks.rules"
#: how a step follows from gradients; a new rule is a function and a line here
RULES = Registry(
    "step rule",
    {
        "sign": Rule(Lazy(f"{_RULES}:sign")),
        "momentum": Rule(Lazy(f"{_RULES}:momentum")),
        "nesterov": Rule(Lazy(f"{_RULES}:momentum"), look=Lazy(f"{_RULES}:ahead")),
    },
)


@dataclass(frozen=True)
class Attack:
    """Settings of an attack: plain values, so that `dataclasses.asdict` is its provenance.

    Attributes:
        objective: A name in OBJECTIVES, or with a distance in MAP_OBJECTIVES.
        eps: Radius of the ball in the norm, pixels in [0, 1].
        steps: Number of gradient steps.
        step_size: In the same norm and unit; None: see `step_length`.
        random_start: Start from a point drawn uniformly from the ball (in L2 its sphere) instead of from the image.
        restarts: Number of starts; an image keeps the one that serves the attack best.
        sigma: Weight of A3's attention deviation (eq. 12 of the paper); None for an attack without it.
        label_smoothing: Share of the cross-entropy's target that is spread over all classes.
        rule: A name in RULES.
        distance: A name in DISTANCES; None for an attack that is not on maps.
        method: A name in METHODS, whose maps an attack on maps moves or holds.
        keep: Least margin of the clean prediction's logit over every other that an attack which holds it leaves.
        softplus: Sharpness of the softplus that stands for each ReLU where an attack on maps takes its gradient
            (Dombrowski et al. 2019); None for the network as it is.
        norm: A name in NORMS.
        target: Class that a targeted attack moves images to, see `check_target`; None for an untargeted one.
        diversity: Share of the gradients that are taken at a copy, resized and padded at random (Xie et al. 2019).
        kernel: Side in pixels of the Gaussian that smooths gradients (Dong et al. 2019).
        where: A name in WHERE: the pixels that it may change, by the images' ground truth.

    Raises:
        UserError: If a value is out of range, or the method's maps have no gradient.
    """

    objective: str = "cross-entropy"
    eps: float = 16 / 255
    steps: int = 1
    step_size: float | None = None
    random_start: bool = False
    restarts: int = 1
    sigma: float | None = None
    label_smoothing: float = 0.0
    rule: str = "sign"
    distance: str | None = None
    method: str = "grad-cam"
    keep: float = 0.0
    softplus: float | None = None
    norm: str = "linf"
    target: int | str | None = None
    diversity: float | None = None
    kernel: int | None = None
    where: str = WHERE[0]

    def __post_init__(self) -> None:
        (OBJECTIVES if self.distance is None else MAP_OBJECTIVES).expect(self.objective)
        RULES.expect(self.rule)
        NORMS.expect(self.norm)
        check_one_of(self.where, WHERE, "--where")
        if self.norm != "linf" and RULES[self.rule].look is not None:
            raise UserError(f"expected --norm linf with a step rule that looks ahead, {self.rule}, got {self.norm}")
        check_budget(self.eps, "eps", self.norm)
        if self.step_size is not None:
            check_budget(self.step_size, "step size", self.norm)
        check_between(self.steps, 1, MOST_STEPS, "steps")
        check_between(self.restarts, 1, MOST_RESTARTS, "restarts")
        if self.restarts > 1 and not self.random_start:
            raise UserError(f"expected restarts of at least 1, more only with a random start, got {self.restarts}")
        if self.sigma is not None:
            check_sigma(self.sigma, "sigma")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"expected label smoothing in [0, 1), got {self.label_smoothing:g}")
        if self.label_smoothing and (self.distance or not OBJECTIVES[self.objective].smooths):
            raise UserError(f"expected label smoothing with a cross-entropy alone, got the objective {self.objective}")
        if self.distance is not None:
            self._check_maps(self.distance)
        if self.kernel is not None and not (0 < self.kernel <= MOST_PIXELS and self.kernel % 2):
            raise UserError(f"expected a kernel of an odd number of pixels, at most {MOST_PIXELS}, got {self.kernel}")
        if self.diversity is not None:
            if not 0 <= self.diversity <= 1:
                raise UserError(f"expected diversity in [0, 1], got {self.diversity:g}")
            if self.uses_maps:
                raise UserError(
                    "expected diversity without attention maps, got both: maps of a copy are of other places"
                )
        if self.target is not None:
            check_target(self.target)
            if not self.targetable:
                able = ", ".join(name for name, objective in OBJECTIVES.items() if objective.towards)
                raise UserError(f"expected a target with the objective {able}, got {self.objective}")

    def _check_maps(self, distance: str) -> None:
        """Check what an attack on maps needs beside the values of every attack."""
        DISTANCES.expect(distance)
        if not METHODS.expect(self.method, "--explain-method").differentiable:
            able = ", ".join(name for name, method in METHODS.items() if method.differentiable)
            raise UserError(
                f"expected --explain-method to have maps with a gradient by the images ({able}), got {self.method}"
            )
        check_margin(self.keep)
        if self.softplus is not None:
            check_softplus(self.softplus)
        if self.sigma is not None:
            raise UserError(f"expected {A3} with an attack on the prediction, got one on maps, {self.objective}")
        if RULES[self.rule].look is not None:
            raise UserError(f"expected a step rule that looks at each point for an attack on maps, got {self.rule}")

    uses_gradient = True

    @property
    def looks_elsewhere(self) -> bool:
        """Whether gradients are taken elsewhere than at the points of the attack."""
        return RULES[self.rule].look is not None or self.diversity is not None

    @property
    def starts_clean(self) -> bool:
        """Whether the first gradient is at the clean images and of the objective alone, see `clean_gradient`."""
        return not (self.random_start or self.uses_maps or self.diversity is not None)

    @property
    def deviates(self) -> bool:
        """Whether it may climb A3's attention deviation too."""
        return self.distance is None and self.diversity is None

    @property
    def targetable(self) -> bool:
        """Whether it can aim at a class of the user's choice."""
        return self.distance is None and OBJECTIVES[self.objective].towards is not None

    @property
    def climbed(self) -> Objective:
        """What an attack on predictions climbs."""
        objective = OBJECTIVES[self.objective]
        if self.target is None or objective.towards is None:
            return objective
        aim = partial(_target_classes, self.target)
        return objective._replace(value=objective.towards, aim=aim)

    @property
    def uses_maps(self) -> bool:
        """Whether a step needs the maps of its point, and those of the clean images."""
        return self.sigma is not None or self.distance is not None

    @property
    def holds(self) -> str | None:
        """What an attack on maps leaves as it is, the `prediction` or the `map`; None for an attack on predictions."""
        return None if self.distance is None else MAP_OBJECTIVES[self.objective].holds

    @property
    def step_length(self) -> float:
        """Length of a step in the norm; unless set, eps for one, 2.5 eps / steps for more (Madry et al. 2018)."""
        if self.step_size is not None:
            return self.step_size
        length = self.eps if self.steps == 1 else 2.5 * self.eps / self.steps
        return min(1.0, length) if self.norm == "linf" else length


#: attacks of the loop; a new one is a line here
ATTACKS = Registry(
    "attack",
    {
        "fgsm": Attack(objective="cross-entropy"),
        "stepll": Attack(objective="least-likely"),
        "iter-stepll": Attack(objective="least-likely", steps=10),
        "pgd": Attack(objective="cross-entropy", steps=40, random_start=True),
        "cw": Attack(objective="margin", steps=40, random_start=True),
        "mi-fgsm": Attack(objective="cross-entropy", steps=10, rule="momentum"),
        "ni-fgsm": Attack(objective="cross-entropy", steps=10, rule="nesterov"),
        "di-fgsm": Attack(objective="cross-entropy", steps=10, diversity=0.5),
        "ti-fgsm": Attack(objective="cross-entropy", steps=10, kernel=15),
        "di-ti-mi-fgsm": Attack(objective="cross-entropy", steps=10, rule="momentum", diversity=0.5, kernel=15),
        "explain": Attack(objective="move-map", steps=20, random_start=True, distance="top-k"),
        "keep-map": Attack(objective="keep-map", steps=20, random_start=True, distance="l2"),
    },
)
