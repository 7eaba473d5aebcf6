"""AutoAttack: APGD-CE, APGD-T, FAB-T, Square, each on what the ones before left (Croce and Hein 2020, sec. 6)."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch

from attnlab.arrays import Images, Labels
from attnlab.attacks.apgd import apgd
from attnlab.attacks.fab import fab
from attnlab.attacks.others import OTHER_ATTACKS
from attnlab.attacks.seeding import reseed
from attnlab.attacks.square import square
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.seeding import SEEDS

TARGETS = 9  # most classes that APGD-T and FAB-T aim at, the strongest rivals first
LEAST_CLASSES = 4  # fewest classes that APGD-T's objective is defined for
HORIZON = 10_000  # the standard suite lets the squares shrink as if there were 10 000 queries, though it makes 5 000

PASSES = 20  # over which the suite for random networks averages each gradient

Turn = Callable[..., Images]  # as `AttackFunction.run`


def autoattack(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    eps: float,
    seeds: Sequence[int],
    *,
    steps: int = 100,
    queries: int = 5000,
    norm: str = "linf",
) -> Images:
    """Attack by the stages of the standard suite in turn; an image that none of them broke is returned as it is.

    With fewer than four classes APGD-T is left out, since its objective needs four logits.
    """
    attacks: dict[str, list[Turn]] = {
        "apgd-ce": [partial(apgd, steps=steps, norm=norm)],
        "apgd-t": _targeted_apgd(classifier, steps, norm) if classifier.classes >= LEAST_CLASSES else [],
        "fab-t": _targeted_fab(classifier, steps, norm),
        "square": [partial(square, queries=queries, horizon=HORIZON, norm=norm)],
    }
    stages = OTHER_ATTACKS["autoattack"].stages
    in_turn = [attack for stage in stages for attack in attacks[stage]]
    return _in_turn(classifier, images, labels, eps, seeds, in_turn)


def autoattack_rand(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    eps: float,
    seeds: Sequence[int],
    *,
    steps: int = 100,
    passes: int = PASSES,
    norm: str = "linf",
) -> Images:
    """Attack by the suite's version for networks that answer at random, in turn as `autoattack`.

    What the network draws from torch's stream follows from the seed of the batch's first image, so that the same batch
    comes out the same; it depends on the batch, as the draws of a pass do. The stream goes on as if nothing was drawn.
    With fewer than three classes APGD on the DLR loss is left out.
    """
    climbed = ("cross-entropy", "dlr") if classifier.classes >= 3 else ("cross-entropy",)
    attacks = [partial(apgd, objective=name, steps=steps, norm=norm, passes=passes) for name in climbed]
    with torch.random.fork_rng([images.device] if images.device.type == "cuda" else []):
        torch.manual_seed(seeds[0] % SEEDS if len(seeds) else 0)
        return _in_turn(classifier, images, labels, eps, seeds, attacks)


def apgd_t(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    eps: float,
    seeds: Sequence[int],
    *,
    steps: int = 100,
    norm: str = "linf",
) -> Images:
    """Attack by APGD against up to nine classes in turn; an image that no target breaks is returned as it is."""
    return _in_turn(classifier, images, labels, eps, seeds, _targeted_apgd(classifier, steps, norm))


def fab_t(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    eps: float,
    seeds: Sequence[int],
    *,
    steps: int = 100,
    norm: str = "linf",
) -> Images:
    """Attack by targeted FAB against up to nine classes in turn, likewise."""
    return _in_turn(classifier, images, labels, eps, seeds, _targeted_fab(classifier, steps, norm))


def _in_turn(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    eps: float,
    seeds: Sequence[int],
    attacks: Iterable[Turn],
) -> Images:
    """Attack by one after another, each with seeds of its own on the images that are still classified correctly."""
    adversarial = images.detach().clone()
    with frozen_eval(classifier):
        for turn, attack in enumerate(attacks):
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


def _targeted_apgd(classifier: Classifier, steps: int, norm: str) -> list[Turn]:
    return [
        partial(apgd, objective="dlr-targeted", target_rank=rank, steps=steps, norm=norm) for rank in _ranks(classifier)
    ]


def _targeted_fab(classifier: Classifier, steps: int, norm: str) -> list[Turn]:
    return [partial(fab, target_rank=rank, steps=steps, norm=norm) for rank in _ranks(classifier)]


def _ranks(classifier: Classifier) -> range:
    """Ranks of the classes aimed at, among those that are not the label."""
    return range(1, min(TARGETS, classifier.classes - 1) + 1)
