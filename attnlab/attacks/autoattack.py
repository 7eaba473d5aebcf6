"""AutoAttack without FAB: APGD-CE, APGD-T, Square, each on what the ones before left (Croce and Hein 2020, sec. 6)."""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from attnlab.arrays import Images, Labels
from attnlab.attacks.apgd import apgd
from attnlab.attacks.seeding import reseed
from attnlab.attacks.square import square
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier

TARGETS = 9  # most classes that APGD-T aims at, the strongest rivals first
LEAST_CLASSES = 4  # fewest classes that APGD-T's objective is defined for
HORIZON = 10_000  # the standard suite lets the squares shrink as if there were 10 000 queries, though it makes 5 000


def autoattack(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    eps: float,
    seeds: Sequence[int],
    *,
    steps: int = 100,
    queries: int = 5000,
) -> Images:
    """Attack by a cascade of parameter-free attacks: APGD-CE, APGD-T of up to nine targets, Square.

    The standard suite holds FAB-T too, between the last two. It is left out, so the accuracy under this cascade is at
    least that under the whole suite: an upper bound of it. With fewer than four classes APGD-T is left out, since its
    objective needs four logits. An image that no attack broke is returned as it is.
    """
    adversarial = images.detach().clone()
    with frozen_eval(classifier):
        for turn, attack in enumerate(_cascade(classifier.classes, steps, queries)):
            with torch.no_grad():
                rows = (classifier(adversarial).argmax(1) == labels).nonzero()[:, 0]
            if len(rows) == 0:
                break
            own_seeds = reseed([seeds[row] for row in rows.tolist()], turn)
            tried = attack(classifier, images[rows], labels[rows], eps, own_seeds)
            with torch.no_grad():
                broken = classifier(tried).argmax(1) != labels[rows]
            adversarial[rows[broken]] = tried[broken]
    return adversarial


def _cascade(classes: int, steps: int, queries: int) -> list[Callable[..., Images]]:
    targets = min(TARGETS, classes - 1) if classes >= LEAST_CLASSES else 0
    return [
        partial(apgd, steps=steps),
        *(partial(apgd, objective="dlr-targeted", target_rank=rank + 1, steps=steps) for rank in range(targets)),
        partial(square, queries=queries, horizon=HORIZON),
    ]
