"""Options of attacks, which the configurations of several commands share."""

from dataclasses import dataclass
from typing import Any

from attnlab.attacks import Attack
from attnlab.attacks.corruptions import Corruption, is_corruption, one_corruption, parse_corruptions
from attnlab.attacks.limits import check_budget, check_margin, check_sigma, check_softplus
from attnlab.attacks.others import Attacks
from attnlab.attacks.parse import SIGMA, is_map_attack, map_attacks, other_names, parse_attack, parse_budgets, parse_eps
from attnlab.attacks.targets import check_targetable
from attnlab.config.option import Leaf, Options, option
from attnlab.data.regions import WHERE
from attnlab.errors import UserError

OF_MAPS = ("explain_method", "explain_distance", "keep_prediction", "explain_softplus")  # options of attacks on maps


def an_attack(value: Any, _flag: str) -> None:
    """Refuse a name that is neither an attack of the loop nor one corruption; what they stand for may be in place."""
    if isinstance(value, str) and not is_corruption(value):
        parse_attack(value)
    elif isinstance(value, str):
        one_corruption(value)


def attacks(value: Any, _flag: str) -> None:
    """Refuse names, with commas between them, that are no attacks; a mapping of attacks may stand in their place."""
    for name in value.split(",") if isinstance(value, str) else ():
        if is_corruption(name.strip()):
            parse_corruptions(name.strip())
        elif name.strip() not in other_names():
            parse_attack(name.strip(), others=other_names())


def step_size(text: str) -> float:
    """Length of an attack's step, see `parse_eps`; it is checked where the norm is known."""
    return parse_eps(text, "--step-size", None)


def one_eps(text: str) -> float:
    """Budget, likewise."""
    return parse_eps(text, norm=None)


def several_eps(text: str) -> tuple[float, ...]:
    """Budgets with commas between them, likewise."""
    return parse_budgets(text, None)


@dataclass(frozen=True)
class AttackOptions(Options):
    """One attack or several, and their strength.

    Attributes:
        name: One attack; `attnlab list attacks` names them.
        norm: Norm of the budget: {norms}.
        eps: Budget in that norm, pixels in [0, 1], as a number or a fraction; by default the paper's: {eps}. With
            --norm l2 it is to be given.
        steps: Number of steps of iterative attacks whose name carries no number; by default {steps}.
        step_size: Length of an iterative attack's steps, pixels in [0, 1], as a number or a fraction; by default
            {step_size} (Madry et al. 2018); with --norm l2 2.5 eps / steps.
        target: Class that {targetable} move images to: `least-likely` or `likely:K`, the K-th most likely, on the
            clean image, or an index or name (`index:7`, `name:7`); by default they leave the label alone.
        restarts: Number of random starts of {starting}.
        where: Pixels that an attack of the loop may change: `all`, those `outside` the ground truth, or those `inside`;
            images that do not have both kinds are skipped.
        sigma: Weight of the attention deviation that +a3 adds to an attack's objective.
        explain_method: Method whose maps {map_attacks} move or hold, one whose maps have a gradient by the images; by
            default the first such of --method, or grad-cam.
        explain_distance: How far those maps have moved: {distances}; by default {distance}.
        keep_prediction: Least lead in logits of the predicted class over every other that {holding} leaves; images for
            which no such point is found stay as they are.
        explain_softplus: Sharpness of a softplus in place of each ReLU where these attacks take their gradient, such as
            10, for maps that are a gradient themselves; by default the network as it is.
    """

    name: str | Attack | Corruption | Attacks = option(
        "pgd", name="attack", check=attacks, kinds=("attacks", "others", "corruptions")
    )
    norm: str = option("linf", names="norms")
    eps: float | tuple[float, ...] | None = option(None, parse=one_eps)
    steps: int | None = None
    step_size: float | None = option(None, parse=step_size)
    target: str | None = option(None, name="attack_target", metavar="CLASS", kinds=("aims",))
    restarts: int = option(1, smoke=1)
    where: str = option(WHERE[0], choices=WHERE)
    sigma: float = option(SIGMA, check=check_sigma)
    explain_method: str | None = option(None, names="methods")
    explain_distance: str | None = option(None, names="distances")
    keep_prediction: float = option(0.0, check=check_margin)
    explain_softplus: float | None = option(None, check=check_softplus)

    def __post_init__(self) -> None:
        """Check what several options say together."""
        super().__post_init__()
        budgets = self.eps if isinstance(self.eps, tuple) else (self.eps,)
        for eps in budgets:
            if eps is not None:
                check_budget(eps, "eps", self.norm)
        if self.step_size is not None:
            check_budget(self.step_size, "--step-size", self.norm)
        if self.target is not None and isinstance(self.name, str):
            check_targetable(name.strip() for name in self.name.split(","))
        given = [leaf.flag for leaf in self.own() if leaf.field.name in OF_MAPS and self._given(leaf)]
        if given and isinstance(self.name, str) and not any(is_map_attack(name) for name in self.name.split(",")):
            raise UserError(
                f"expected {', '.join(given)} with an attack on maps ({', '.join(map_attacks())}), got {self.name}"
            )

    def _given(self, leaf: Leaf) -> bool:
        return bool(getattr(self, leaf.field.name) != leaf.field.default)

    def strength(self, method: str | None = None) -> dict[str, Any]:
        """Its values that `parse_attacks` takes beside eps; `method` stands for an `explain_method` left open."""
        explain = {
            "method": self.explain_method or method or Attack.method,
            "keep": self.keep_prediction,
            "softplus": self.explain_softplus,
            **({"distance": self.explain_distance} if self.explain_distance else {}),
        }
        values = {name: getattr(self, name) for name in ("steps", "step_size", "restarts", "sigma", "norm", "where")}
        return {**values, "explain": explain}
