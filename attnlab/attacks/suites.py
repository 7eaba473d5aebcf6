"""Attacks that are not the one loop: without gradients, or several in a row. For a figure that can be trusted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from attnlab.attacks import expect_budget
from attnlab.attacks.autoattack import autoattack
from attnlab.attacks.square import square
from attnlab.errors import expect_one_of
from attnlab.models.classifier import Classifier

#: name -> function(classifier, images, labels, eps, seeds) -> adversarial images
SUITES: dict[str, Callable[[Classifier, Tensor, Tensor, float, Sequence[int]], Tensor]] = {
    "square": square,
    "autoattack": autoattack,
}
#: those that use no gradient
BLIND = ("square",)


@dataclass(frozen=True)
class Suite:
    """Settings of an attack in SUITES; what else it is made of is as published.

    Attributes:
        method: A name in SUITES.
        eps: Radius of the L-infinity ball, pixels in [0, 1].

    Raises:
        UserError: If a value is out of range.
    """

    method: str
    eps: float

    def __post_init__(self) -> None:
        """Check every value once."""
        expect_one_of(self.method, SUITES, "attack")
        expect_budget(self.eps, "eps")

    def __call__(self, classifier: Classifier, images: Tensor, labels: Tensor, seeds: Sequence[int]) -> Tensor:
        """Adversarial images, pixels in [0, 1], (N, C, H, W); where none was found, what the attack was left with."""
        return SUITES[self.method](classifier, images, labels, self.eps, seeds)
