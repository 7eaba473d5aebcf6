"""A defence: what is descended, and how the adversarial images it is trained on are made."""

from dataclasses import dataclass

from attnlab.attacks import OBJECTIVES, Attack
from attnlab.errors import UserError, expect_one_of
from attnlab.training.losses import CLASSIFICATIONS, FILLS, LOSSES


@dataclass(frozen=True)
class Defense:
    """Settings of a defence: plain values, so that `dataclasses.asdict` is its provenance.

    Attributes:
        loss: Name in LOSSES of the loss of the logits.
        weight: Of that loss's second part: lambda of alp and mart, beta of trades.
        objective: Name in OBJECTIVES of what the attack climbs that makes the adversarial images.
        single_step: That attack is one step of eps from the image; otherwise a few from a random start.
        ensemble: Each batch is attacked by a source drawn from static classifiers and the current one.
        alpha: Weight of L_r, attention rectification (eq. 10 of the paper); 0 for none, and then it is not computed.
        beta: Weight of L_p, attention preservation (eq. 10); likewise.
        fill: Name in FILLS of what hides the attended pixels in L_r.
        classification: Name in CLASSIFICATIONS of L_c, what the images are classified by.

    Raises:
        UserError: If a name is unknown or a value out of range.
    """

    loss: str
    weight: float = 0.0
    objective: str = "cross-entropy"
    single_step: bool = False
    ensemble: bool = False
    alpha: float = 0.0
    beta: float = 0.0
    fill: str = "black"
    classification: str = "cross-entropy"

    def __post_init__(self) -> None:
        """Check every value once."""
        expect_one_of(self.loss, LOSSES, "loss")
        OBJECTIVES.expect(self.objective)
        expect_one_of(self.fill, FILLS, "fill")
        expect_one_of(self.classification, CLASSIFICATIONS, "classification loss")
        for name in ("weight", "alpha", "beta"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise UserError(f"expected {name} of at least 0, got {value:g}")
        if self.loss == "mart" and self.classification != "cross-entropy":
            raise UserError(f"expected cross-entropy with mart, whose own loss builds on it, got {self.classification}")

    @property
    def attends(self) -> bool:
        """Whether it looks at attention: L_r or L_p is switched on."""
        return self.alpha > 0 or self.beta > 0

    @property
    def reads(self) -> tuple[str, ...]:
        """Which images it passes through the classifier: "clean", "adversarial" or both."""
        return ("clean", "adversarial") if self.attends else LOSSES[self.loss].reads

    def attack(self, eps: float, steps: int, step_size: float | None = None) -> Attack:
        """The attack that makes its adversarial images.

        Args:
            eps: Radius of the L-infinity ball, pixels in [0, 1].
            steps: Number of gradient steps, unless it is a single-step defence.
            step_size: Length of each, pixels in [0, 1]; None for the attack's default. A single step is eps long.
        """
        if self.single_step:
            return Attack(self.objective, eps)
        return Attack(self.objective, eps, steps, step_size, random_start=True)
