"""Attacks outside the loop, by name; no torch before one is used."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from attnlab.attacks import Attack
from attnlab.attacks.corruptions import Corruption
from attnlab.attacks.limits import check_budget
from attnlab.attacks.norms import NORMS
from attnlab.errors import UserError
from attnlab.registry import Lazy, Registry

if TYPE_CHECKING:
    from attnlab.arrays import Images, Labels
    from attnlab.models.classifier import Classifier


class AttackFunction(NamedTuple):
    """An attack outside the loop."""

    # (classifier, images, labels, eps, seeds of the images) -> adversarial images, at most eps (pixels in [0, 1]) from
    # the images, detached; images of another prediction stay as they are, the classifier is given back as it was
    run: Callable[..., "Images"]
    gradient: bool = True  # whether it uses a gradient
    norms: tuple[str, ...] = ("linf",)  # that it knows; where it knows several it takes `norm`, by default the first
    stages: tuple[str, ...] = ()  # of a suite: the attacks in it, in their order
    averages: bool = False  # over what a network draws at random


#: attacks outside the loop, for a figure that can be trusted; a new one is a function and a line here
OTHER_ATTACKS = Registry(
    "attack",
    {
        "apgd-ce": AttackFunction(Lazy("attnlab.attacks.apgd:apgd"), norms=("linf", "l2")),
        "apgd-t": AttackFunction(Lazy("attnlab.attacks.autoattack:apgd_t"), norms=("linf", "l2")),
        "fab-t": AttackFunction(Lazy("attnlab.attacks.autoattack:fab_t"), norms=("linf", "l2")),
        "square": AttackFunction(Lazy("attnlab.attacks.square:square"), gradient=False, norms=("linf", "l2")),
        "autoattack": AttackFunction(
            Lazy("attnlab.attacks.autoattack:autoattack"),
            norms=("linf", "l2"),
            stages=("apgd-ce", "apgd-t", "fab-t", "square"),
        ),
        "autoattack-rand": AttackFunction(
            Lazy("attnlab.attacks.autoattack:autoattack_rand"),
            norms=("linf", "l2"),
            stages=("apgd-ce", "apgd-dlr"),
            averages=True,
        ),
    },
)


@dataclass(frozen=True)
class OtherAttack:
    """Settings of an attack in OTHER_ATTACKS; everything else is as published."""

    method: str
    eps: float  # radius of the ball in the norm, pixels in [0, 1]
    stages: tuple[str, ...] = field(init=False, default=())  # of a suite, so that its records say what was in it
    norm: str = "linf"

    def __post_init__(self) -> None:
        method = OTHER_ATTACKS.expect(self.method)
        object.__setattr__(self, "stages", method.stages)
        NORMS.expect(self.norm)
        if self.norm not in method.norms:
            able = [name for name, other in OTHER_ATTACKS.items() if self.norm in other.norms]
            raise UserError(
                f"expected --norm {' or '.join(method.norms)} with {self.method}, got {self.norm}; every attack of the "
                f"loop and {', '.join(able)} take {self.norm}"
            )
        check_budget(self.eps, "eps", self.norm)

    @property
    def averages(self) -> bool:
        """Whether it averages over what a network draws at random."""
        return OTHER_ATTACKS[self.method].averages

    @property
    def uses_gradient(self) -> bool:
        """Whether it uses a gradient of the classifier."""
        return OTHER_ATTACKS[self.method].gradient

    def __call__(self, classifier: "Classifier", images: "Images", labels: "Labels", seeds: Sequence[int]) -> "Images":
        """Adversarial images; where none was found, what the attack was left with."""
        method = OTHER_ATTACKS[self.method]
        more = {"norm": self.norm} if len(method.norms) > 1 else {}
        return method.run(classifier, images, labels, self.eps, seeds, **more)


#: name -> settings; None for `clean`, and for what is no attack of its own
Attacks = Mapping[str, Attack | OtherAttack | Corruption | None]
