"""One pass over a batch: the clean images, and their adversarial counterparts of every eps.

The clean forward pass gives prediction, confidence, map and the attack's gradient; one input gradient and one
forward pass per eps do the rest: three forward-equivalents an image for one eps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.attacks import Attack
from attnlab.attacks.pgd import clean_gradient, perturb
from attnlab.attention import METHODS
from attnlab.attention.gradcam import logits_and_maps
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.models.outputs import check_gradient


class BatchOutput(NamedTuple):
    """What a classifier makes of a batch.

    Attributes:
        images: Pixels in [0, 1], (N, C, H, W).
        logits: (N, K).
        maps: Signed maps, (N, h, w); None where they were not asked for.
    """

    images: Tensor
    logits: Tensor
    maps: Tensor | None


def fused_pass(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    attacks: Sequence[Attack],
    method: str | None = "grad-cam",
    target: str = "true",
    seeds: Sequence[int] | None = None,
) -> tuple[BatchOutput, list[BatchOutput]]:
    """See the clean images, and their adversarial counterparts of every eps.

    Args:
        classifier: Any; it is given back as it was.
        images: Pixels in [0, 1], (N, C, H, W).
        labels: (N,).
        attacks: One or more, which differ in their eps alone.
        method: Whose maps are made, a name in METHODS; None for no maps.
        target: Class that maps explain: the `true` label, or each image's own `predicted` class.
        seeds: Of each image's random starts, see `perturb`.

    Returns:
        What is seen of the clean images; what is seen of the adversarial ones, in the order of the attacks.
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
        logits, maps_of_attacked = _look(classifier, attacked, labels, method, target, cut=True)
        adversarial.append(BatchOutput(attacked, logits.detach(), maps_of_attacked))
    return seen, adversarial


def _look(
    classifier: Classifier, images: Tensor, labels: Tensor, method: str | None, target: str, *, cut: bool
) -> tuple[Tensor, Tensor | None]:
    """Logits, and the map if it is asked for; with `cut` no gradient reaches the images."""
    with frozen_eval(classifier), torch.enable_grad():
        if method is None:
            logits = classifier(images)
            if not cut:
                check_gradient(logits)
            return logits, None
        classes = labels if target == "true" else None
        logits, maps = logits_and_maps(classifier, images, classes, detach_input=cut, method=METHODS[method].maps)
        check_gradient(logits)
        return logits, maps
