"""What a pass over clean images gives an attack: its first gradient, and the classes that it moves images to."""

from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.arrays import Images, Labels, Logits
from attnlab.attacks import Attack
from attnlab.attacks.corruptions import Corruption


class CleanGradient(NamedTuple):
    """A pass over the clean images, detached: where every attack without a random start begins."""

    logits: Logits
    gradient: Tensor  # of the objective by the images, (N, C, H, W)


def targets_of(attack: Attack | Corruption, clean_logits: Logits, labels: Labels) -> Labels | None:
    """Class that a targeted attack moves each image to, (N,); None of another attack."""
    return (
        None
        if isinstance(attack, Corruption) or attack.target is None
        else attack.climbed.aim(lambda: clean_logits, labels)
    )


def clean_gradient(
    logits: Logits, images: Images, labels: Labels, attack: Attack, targets: Labels | None = None
) -> CleanGradient:
    """Gradient of the attack's objective at clean images, from the logits, with their graph, of a pass already made.

    Not for attacks that use maps, which that pass does not hold; the attack's eps plays no part. The images require a
    gradient; `targets` as of `perturb`.
    """
    detached = logits.detach()
    objective = attack.climbed
    target = objective.aim(lambda: detached, labels) if targets is None else targets
    with torch.enable_grad():
        value = objective.value(logits, target, attack.label_smoothing)
        (gradient,) = torch.autograd.grad(value.sum(), images)
    return CleanGradient(detached, gradient)
