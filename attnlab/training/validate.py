"""How good a model is on images held out of its training."""

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.seeding import seed_of
from attnlab.training.distributed import ProcessGroup
from attnlab.training.images import Images


def validate(
    classifier: Classifier,
    images: Images,
    attack: Attack,
    size: int,
    world: ProcessGroup,
    seed: int = 0,
    pause: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Accuracy in percent, `clean` and `robust` (under the attack), and `n`, of how many images.

    An accuracy is NaN where some image's logits have no softmax.

    Args:
        classifier: Judged in eval mode and given back as it was.
        images: All are used; the processes share them.
        attack: Its random start depends on the seed and the image's place alone.
        size: Images a pass.
        world: The processes that train together; all get the same figures.
        seed: Of random starts.
        pause: Called before each batch.
    """
    places = range(len(images))[world.rank :: world.size]
    right = torch.zeros(3, dtype=torch.float64, device=classifier.device)
    for at, batch in zip(range(0, len(places), size), images.batches(places, size), strict=True):
        pause()
        seeds = [seed_of(seed, f"held out {place}") % 2**63 for place in places[at : at + size]]
        pixels = batch.pixels.float() / 255
        attacked = perturb(classifier, pixels, batch.labels, attack, seeds=seeds)
        with torch.no_grad(), frozen_eval(classifier):
            found = [hits(classifier(seen), batch.labels).sum() for seen in (pixels, attacked)]
        right += torch.stack([*found, torch.tensor(len(pixels), device=right.device)])
    clean, robust, total = world.total(right).tolist()
    return {"clean": 100 * clean / total, "robust": 100 * robust / total, "n": int(total)}


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """1 for each image classified correctly and 0 for another, (N,), float64; NaN where logits have no softmax."""
    right = (logits.argmax(1) == labels).double()
    return right.where(logits.log_softmax(1).isnan().logical_not().all(1), torch.nan)
