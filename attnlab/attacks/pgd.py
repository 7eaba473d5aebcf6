"""Projected gradient ascent in an L-infinity ball: the only attack loop. FGSM and StepLL are its single steps."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.attacks.objectives import OBJECTIVES
from attnlab.errors import UserError, expect_one_of
from attnlab.hooks import borrowed
from attnlab.models.classifier import Classifier


@dataclass(frozen=True)
class Attack:
    """Settings of an attack: plain values, so that `dataclasses.asdict` is its provenance.

    Attributes:
        objective: Name in OBJECTIVES of what is climbed.
        eps: Radius of the L-infinity ball, pixels in [0, 1].
        steps: Number of gradient steps.
        step_size: Length of a step, pixels in [0, 1]; None for eps.
        label_smoothing: Share of the cross-entropy's target that is spread over all classes.

    Raises:
        UserError: If a value is out of range.
    """

    objective: str = "cross-entropy"
    eps: float = 16 / 255
    steps: int = 1
    step_size: float | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check every value once."""
        expect_one_of(self.objective, OBJECTIVES, "objective")
        if not 0 <= self.eps <= 1:
            likely = f"; did you mean {self.eps:g}/255?" if 1 < self.eps <= 255 else ""
            raise UserError(f"expected eps in [0, 1], got {self.eps:g}{likely}")
        if self.steps < 1:
            raise UserError(f"expected steps of at least 1, got {self.steps}")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"expected label smoothing in [0, 1), got {self.label_smoothing:g}")


class Clean(NamedTuple):
    """A pass over the clean images: where every attack without a random start begins.

    Attributes:
        logits: (N, K), detached.
        gradient: Of the objective by the images, (N, C, H, W).
    """

    logits: Tensor
    gradient: Tensor


def clean_pass(logits: Tensor, images: Tensor, labels: Tensor, attack: Attack) -> Clean:
    """Gradient of the attack's objective at the clean images, from a forward pass already made.

    Args:
        logits: Of that pass, with its graph, (N, K).
        images: Pixels in [0, 1] of that pass, requiring a gradient, (N, C, H, W).
        labels: (N,).
        attack: Names the objective; its eps plays no part.
    """
    detached = logits.detach()
    classes = OBJECTIVES[attack.objective].classes(detached, labels)
    return Clean(detached, _gradient(logits, images, classes, attack))


def perturb(
    classifier: Classifier, images: Tensor, labels: Tensor, attack: Attack, clean: Clean | None = None
) -> Tensor:
    """Adversarial images.

    Args:
        classifier: Any; it is attacked in eval mode and given back as it was.
        images: Pixels in [0, 1], (N, C, H, W).
        labels: (N,).
        attack: What to climb, how far, in how many steps.
        clean: The pass over the clean images, if it was made already: it saves the first step's.

    Returns:
        Pixels in [0, 1] at most eps from the images, (N, C, H, W), detached.
    """
    objective = OBJECTIVES[attack.objective]
    step_size = attack.eps if attack.step_size is None else attack.step_size
    images = images.detach()
    adversarial = images
    with borrowed(classifier):
        if clean is None:
            clean = clean_pass(*_forward(classifier, images), labels, attack)
        classes = objective.classes(clean.logits, labels)
        gradient = clean.gradient
        for step in range(attack.steps):
            if step:
                gradient = _gradient(*_forward(classifier, adversarial), classes, attack)
            adversarial = adversarial + step_size * gradient.sign()
            adversarial = adversarial.clamp(images - attack.eps, images + attack.eps).clamp(0, 1)
    return adversarial


def _forward(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        return classifier(images), images


def _gradient(logits: Tensor, images: Tensor, classes: Tensor, attack: Attack) -> Tensor:
    with torch.enable_grad():
        value = OBJECTIVES[attack.objective].value(logits, classes, attack.label_smoothing)
    (gradient,) = torch.autograd.grad(value.sum(), images)
    return gradient


def parse_eps(text: str) -> float:
    """A budget in pixels of [0, 1], written as a number or as a fraction such as `8/255`.

    Raises:
        UserError: If it is neither, or out of [0, 1].
    """
    numerator, slash, denominator = text.strip().partition("/")
    try:
        value = float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        raise UserError(f"expected eps as a number or a fraction such as 8/255, got {text!r}") from None
    return Attack(eps=value).eps
