"""One pass over a batch: the clean images, and their adversarial counterparts of every eps.

The clean forward pass gives prediction, confidence, map and the attack's gradient; one input gradient and one
forward pass per eps do the rest: three forward-equivalents an image for one eps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from attnlab.arrays import Images, Labels, Logits, Maps
from attnlab.attacks import Attack
from attnlab.attacks.pgd import clean_gradient, perturb
from attnlab.attention import METHODS
from attnlab.attention.gradcam import logits_and_maps
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.models.outputs import check_gradient


class BatchOutput(NamedTuple):
    """A classifier's outputs for a batch."""

    images: Images
    logits: Logits
    maps: Maps | None  # None where they were not asked for


def fused_pass(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    attacks: Sequence[Attack],
    method: str | None = "grad-cam",
    target: str = "true",
    seeds: Sequence[int] | None = None,
) -> tuple[BatchOutput, list[BatchOutput]]:
    """See the clean images, and their adversarial counterparts of every eps, in the order of the attacks.

    `attacks` are one or more that differ in their eps alone; maps are those of `method`, a name in METHODS, of the
    `true` label or of each image's own `predicted` class; `seeds` as of `perturb`.
    """
    images = images.detach().requires_grad_()
    logits, maps = _look(classifier, images, labels, method, target, cut=False)
    clean = None
    if not attacks[0].random_start and attacks[0].sigma is None:  # its first step is at the clean images
        with frozen_eval(classifier):
            clean = clean_gradient(logits, images, labels, attacks[0])
    seen = BatchOutput(images.detach(), logits.detach(), maps)
    adversarial = []
    for attack in attacks:
        attacked = perturb(classifier, images, labels, attack, seeds=seeds, clean=clean)
        logits, maps = _look(classifier, attacked, labels, method, target, cut=True)
        adversarial.append(BatchOutput(attacked, logits.detach(), maps))
    return seen, adversarial


def _look(
    classifier: Classifier, images: Images, labels: Labels, method: str | None, target: str, *, cut: bool
) -> tuple[Logits, Maps | None]:
    """Logits, and the map if it is asked for; with `cut` no gradient reaches the images."""
    with frozen_eval(classifier), torch.enable_grad():
        if method is None:
            logits, maps = classifier(images), None
        else:
            classes = labels if target == "true" else None
            logits, maps = logits_and_maps(classifier, images, classes, detach_input=cut, method=METHODS[method].maps)
        if method is not None or not cut:
            check_gradient(logits)
        return logits, maps
