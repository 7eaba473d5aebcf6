"""What a pass over clean images gives an attack: its first gradient, its areas, the classes it moves images to."""

from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.arrays import Areas, Images, Labels, Logits, Maps
from attnlab.attacks import Attack
from attnlab.attacks.corruptions import Corruption
from attnlab.attention.gradcam import logits_and_maps
from attnlab.attention.map_metrics import above_mean
from attnlab.models.classifier import Classifier


class CleanPass(NamedTuple):
    """A pass over the clean images, detached, and what an attack takes from it, if it was made."""

    logits: Logits
    gradient: Tensor | None = None  # of the objective by the images, (N, C, H, W): the first step's, see `starts_clean`
    areas: Areas | None = None  # Att(x) of the labels, for A3


def targets_of(attack: Attack | Corruption, clean_logits: Logits, labels: Labels) -> Labels | None:
    """Class that a targeted attack moves each image to, (N,); None of another attack."""
    return (
        None
        if isinstance(attack, Corruption) or attack.target is None
        else attack.climbed.aim(lambda: clean_logits, labels)
    )


def clean_areas(classifier: Classifier, images: Images, labels: Labels) -> CleanPass:
    """Pass the clean images for A3, which needs their attention areas; the classifier is borrowed already."""
    logits, maps = logits_and_maps(classifier, images, labels, detach_input=True)
    return CleanPass(logits.detach(), areas=attended(maps))


def attended(maps: Maps) -> Areas:
    """Attention area Att(x) of each map of the label, (N, h, w) (eq. 3); a map without positive cells has none."""
    positive = maps.detach().relu()
    return above_mean(positive) & (positive.amax((1, 2), keepdim=True) > 0)


def clean_gradient(
    logits: Logits, images: Images, labels: Labels, attack: Attack, targets: Labels | None = None
) -> CleanPass:
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
    return CleanPass(detached, gradient)
