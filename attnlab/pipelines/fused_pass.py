"""One pass over a batch: the clean images, and their adversarial counterparts of every eps.

The clean forward pass gives prediction, confidence, maps and the attack's gradient; one input gradient and one
forward pass per eps do the rest: three forward-equivalents an image for one eps. Methods that need passes of their own
make them behind it.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from attnlab.arrays import Areas, Images, Labels, Logits, Maps
from attnlab.attacks import Attack
from attnlab.attacks.clean_pass import CleanPass, attended, clean_areas, clean_gradient, targets_of
from attnlab.attacks.corruptions import Corruption
from attnlab.attacks.pgd import perturb
from attnlab.attention.several import Look, Maker
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier

GRAD_CAM = MappingProxyType({"grad-cam": "true"})


class BatchOutput(NamedTuple):
    """A classifier's outputs for a batch."""

    images: Images
    logits: Logits
    maps: dict[str, Maps]  # of each method asked for


def fused_pass(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    attacks: Sequence[Attack | Corruption],
    targets: Mapping[str, str] = GRAD_CAM,
    seeds: Sequence[int] | None = None,
    batch_size: int = 64,
    truth: Areas | None = None,
) -> tuple[BatchOutput, list[BatchOutput]]:
    """See the clean images, and their adversarial counterparts of every eps, in the order of the attacks.

    Args:
        classifier: Any; it is used in eval mode and given back as it was.
        images: Pixels in [0, 1], (N, C, H, W).
        labels: (N,).
        attacks: One or more that differ in their eps alone; or a corruption.
        targets: Method whose maps are wanted, a name in METHODS -> class that they explain: the `true` label, or each
            image's own `predicted` class. There may be none.
        seeds: Of each image's random numbers, those of the attack and of the methods.
        batch_size: Images of a pass that a method makes of its own.
        truth: Ground truth of the images, (N, H, W), for attacks outside or inside it.
    """
    maker = Maker(classifier, targets, batch_size)
    images = images.detach().requires_grad_()
    numbers = () if seeds is None else seeds
    with frozen_eval(classifier):
        look = maker.look(images, labels, numbers, cut=False)
        clean, aims = None, targets_of(attacks[0], look.logits.detach(), labels)
        if isinstance(attacks[0], Attack) and attacks[0].starts_clean:
            clean = clean_gradient(look.logits, images, labels, attacks[0], aims)
        elif isinstance(attacks[0], Attack) and attacks[0].sigma is not None:
            if targets.get("grad-cam") == "true":
                clean = CleanPass(look.logits.detach(), areas=attended(look.maps["grad-cam"]))
            else:
                clean = clean_areas(classifier, images.detach(), labels)
        seen = _output(maker, images, look)
    adversarial = []
    for attack in attacks:
        if isinstance(attack, Corruption):
            attacked = attack(images, range(len(images)) if seeds is None else seeds)
        else:
            attacked = perturb(classifier, images, labels, attack, seeds=seeds, clean=clean, targets=aims, truth=truth)
        with frozen_eval(classifier):
            adversarial.append(_output(maker, attacked, maker.look(attacked, labels, numbers, cut=True)))
    return seen, adversarial


def _output(maker: Maker, images: Images, look: Look) -> BatchOutput:
    return BatchOutput(images.detach(), look.logits.detach(), maker.finish(look))
