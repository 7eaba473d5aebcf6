"""AutoAttack without FAB: APGD-CE, APGD-T, Square, each on what the ones before left (Croce and Hein 2020, sec. 6)."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from attnlab.attacks.apgd import apgd
from attnlab.attacks.seeding import reseed
from attnlab.attacks.square import square
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier

#: most classes that APGD-T aims at, the strongest rivals first
TARGETS = 9
#: fewest classes that APGD-T's objective is defined for
LEAST_CLASSES = 4
#: the standard suite lets the squares shrink as if there were 10 000 queries, though it makes 5 000
HORIZON = 10_000


def autoattack(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    eps: float,
    seeds: Sequence[int],
    *,
    steps: int = 100,
    queries: int = 5000,
) -> Tensor:
    """Adversarial images by a cascade of parameter-free attacks: APGD-CE, APGD-T of up to nine targets, Square.

    The standard suite holds FAB-T too, between the last two. It is left out, so the accuracy under this cascade is
    at least that under the whole suite: an upper bound of it. With fewer than four classes APGD-T is left out, since
    its objective needs four logits.

    Args:
        classifier: Any; it is attacked in eval mode and given back as it was.
        images: Pixels in [0, 1], (N, C, H, W).
        labels: (N,); images of another prediction are returned as they are.
        eps: Radius of the ball, pixels in [0, 1].
        seeds: Of all that is random about each image, N of them.
        steps: Of each APGD.
        queries: Of Square.

    Returns:
        Pixels in [0, 1] at most eps from the images, (N, C, H, W), detached; the clean image where no attack broke it.
    """
    found = images.detach().clone()
    with frozen_eval(classifier):
        for turn, attack in enumerate(_cascade(classifier.classes, steps, queries)):
            with torch.no_grad():
                places = (classifier(found).argmax(1) == labels).nonzero()[:, 0]
            if len(places) == 0:
                break
            some = reseed([seeds[place] for place in places.tolist()], turn)
            tried = attack(classifier, images[places], labels[places], eps, some)
            with torch.no_grad():
                broken = classifier(tried).argmax(1) != labels[places]
            found[places[broken]] = tried[broken]
    return found


def _cascade(classes: int, steps: int, queries: int) -> list[Callable[..., Tensor]]:
    targets = min(TARGETS, classes - 1) if classes >= LEAST_CLASSES else 0
    return [
        partial(apgd, steps=steps),
        *(partial(apgd, objective="dlr-targeted", target_rank=rank + 1, steps=steps) for rank in range(targets)),
        partial(square, queries=queries, horizon=HORIZON),
    ]
