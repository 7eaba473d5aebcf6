"""What is fixed before the first step of the loop: classes, maps, regions, and where it starts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnlab.arrays import Areas, Images, Labels, Logits, Maps
from attnlab.attacks import MAP_OBJECTIVES, Attack
from attnlab.attacks.clean_pass import CleanPass, clean_areas
from attnlab.attacks.limits import MOST_STEPS
from attnlab.attacks.map_distances import shows
from attnlab.attacks.map_objectives import Best, MapPoint
from attnlab.attacks.norms import NORMS
from attnlab.attacks.seeding import reseed, uniform
from attnlab.attention import METHODS
from attnlab.attention.gradcam import logits_and_maps
from attnlab.data.regions import WHERE, region_of
from attnlab.errors import UserError
from attnlab.models.classifier import Classifier


class AttackContext(NamedTuple):
    """Inputs of an attack that are fixed before its first step."""

    images: Images  # centres of the balls
    labels: Labels
    target: Tensor  # what the objective aims at, see `Objective.aim`; of an attack on maps the clean predictions
    areas: Areas | None = None  # Att(x) for A3
    maps: Maps | None = None  # of the clean images and their predictions, for an attack on maps
    best: Best | None = None  # the clean images with their scores, for an attack on maps
    region: Areas | None = None  # the pixels that may change, (N, 1, H, W), where those are not all
    seeds: Sequence[int] = ()  # of what the steps draw for each image
    turn: int = 0  # draws of the first step are of this turn, see `reseed`

    def take(self, rows: Tensor) -> "AttackContext":
        """The same for some of the images, by their indices."""
        some: dict[str, Any] = {
            name: value[rows] for name, value in self._asdict().items() if isinstance(value, Tensor)
        }
        best = None if self.best is None else Best(*(part[rows] for part in self.best))
        seeds = [self.seeds[row] for row in rows.tolist()] if self.seeds else ()
        return self._replace(**some, best=best, seeds=seeds)

    def start(self, restart: int) -> "AttackContext":
        """The same for a start of that number: what its steps draw is independent of other starts and their noise."""
        return self._replace(turn=(restart + 1) * MOST_STEPS)


def attack_context(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    attack: Attack,
    clean: CleanPass | None = None,
    targets: Labels | None = None,
    truth: Areas | None = None,
) -> AttackContext:
    """Fix labels, target, areas and region of an attack; arguments and errors as of `perturb`.

    The clean images pass the borrowed classifier only where needed.
    """
    region = None
    if attack.where != WHERE[0]:
        if truth is None:
            raise UserError(f"expected the ground truth of the images for an attack {attack.where} it, got none")
        region = region_of(attack.where, truth.to(images.device))[:, None]  # (N, 1, H, W)
    if attack.distance is not None:
        return _map_context(classifier, images.detach(), labels, attack)._replace(region=region)

    if attack.sigma is not None and (clean is None or clean.areas is None):
        clean = clean_areas(classifier, images, labels)

    def clean_logits() -> Tensor:
        if clean is not None:
            return clean.logits
        with torch.no_grad():
            made: Tensor = classifier(images)
        return made

    target = attack.climbed.aim(clean_logits, labels) if targets is None else targets
    areas = None if clean is None or attack.sigma is None else clean.areas
    return AttackContext(images, labels, target, areas, region=region)


def _map_context(classifier: Classifier, images: Images, labels: Labels, attack: Attack) -> AttackContext:
    """Clean predictions, their maps, and the clean images as the best points so far, of an attack on maps."""
    assert attack.distance is not None
    logits, maps = maps_under_attack(classifier, images, None, attack)
    clean = MapPoint(logits, logits.argmax(1), torch.zeros_like(logits[:, 0]), shows(maps, attack.distance))
    best = Best(images, MAP_OBJECTIVES[attack.objective].score(clean, attack.keep))
    return AttackContext(images, labels, clean.classes, maps=maps, best=best)


def maps_under_attack(
    classifier: Classifier, images: Images, classes: Labels | None, attack: Attack
) -> tuple[Logits, Maps]:
    """Logits and maps of the method that an attack on maps is about, detached; without classes of the predictions."""
    maps_of = METHODS[attack.method].maps
    logits, maps = logits_and_maps(classifier, images, classes, detach_input=True, method=maps_of)
    return logits.detach(), maps.detach()


def start_of(
    images: Images, attack: Attack, seeds: Sequence[int] | Tensor, restart: int = 0, region: Areas | None = None
) -> Images:
    """First point of an attack: the images, or a point of the ball drawn by (seed, restart) of each image alone.

    Outside a region the images stay as they are.
    """
    if not attack.random_start:
        return images.detach()
    draws = seeds if isinstance(seeds, Tensor) else uniform(reseed(seeds, restart), images.shape)
    noise = NORMS[attack.norm].start(draws, attack.eps)
    start = (images.detach() + noise.to(images)).clamp(0, 1)
    return start if region is None else torch.where(region, start, images.detach())
