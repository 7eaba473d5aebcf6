"""Projected gradient ascent in a ball: the only attack loop. FGSM and StepLL are its single steps."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.arrays import Areas, Images, Labels, Logits, Maps, PerImage
from attnlab.attacks import DISTANCES, MAP_OBJECTIVES, RULES, Attack, State
from attnlab.attacks.clean_pass import CleanGradient
from attnlab.attacks.limits import MOST_STEPS
from attnlab.attacks.map_objectives import Best, MapPoint
from attnlab.attacks.norms import NORMS
from attnlab.attacks.objectives import attention_deviation, lead
from attnlab.attacks.seeding import reseed, uniform
from attnlab.attacks.smoothing import softplus_for_relu
from attnlab.attacks.transforms import diversified, smoothed
from attnlab.attention import METHODS
from attnlab.attention.gradcam import logits_and_maps
from attnlab.attention.map_metrics import above_mean, normalize_max
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.models.outputs import check_gradient


class AttackContext(NamedTuple):
    """Inputs of an attack that are fixed before its first step."""

    images: Images  # centres of the balls
    labels: Labels
    target: Tensor  # what the objective aims at, see `Objective.aim`; of an attack on maps the clean predictions
    areas: Areas | None = None  # Att(x) for A3
    maps: Maps | None = None  # of the clean images and their predictions, for an attack on maps
    best: Best | None = None  # the clean images with their scores, for an attack on maps
    seeds: Sequence[int] = ()  # of what the steps draw for each image
    turn: int = 0  # draws of the first step are of this turn, see `reseed`

    def take(self, rows: Tensor) -> "AttackContext":
        """The same for some of the images, by their indices."""
        areas = None if self.areas is None else self.areas[rows]
        maps = None if self.maps is None else self.maps[rows]
        best = None if self.best is None else Best(*(part[rows] for part in self.best))
        seeds = [self.seeds[row] for row in rows.tolist()] if self.seeds else ()
        return AttackContext(
            self.images[rows], self.labels[rows], self.target[rows], areas, maps, best, seeds, self.turn
        )

    def start(self, restart: int) -> "AttackContext":
        """The same for a start of that number: what its steps draw is independent of other starts and their noise."""
        return self._replace(turn=(restart + 1) * MOST_STEPS)


def perturb(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    attack: Attack,
    *,
    seeds: Sequence[int] | Tensor | None = None,
    clean: CleanGradient | None = None,
    targets: Labels | None = None,
) -> Images:
    """Attack a batch by the loop: images in [0, 1] at most eps from the given ones, detached.

    The classifier is attacked in eval mode and given back as it was. An attack on maps leaves each image with the best
    point of all starts, see `MapObjective`; another one with the last point of the start whose `lead` is lowest.

    Args:
        seeds: Of each image's random starts; by default its place in the batch. Or what the start of an attack without
            restarts is made from: numbers drawn uniformly from [0, 1), (N, C, H, W).
        clean: The attack's `clean_gradient`, if it was made already: it saves the first step's. Not for an attack that
            starts elsewhere, or uses maps.
        targets: Of a targeted attack, the class that each image is moved to, (N,), if `targets_of` gave it already.
    """
    if attack.distance is not None:
        return best_points(classifier, images, labels, attack, [attack.steps], seeds=seeds)[attack.steps]
    best, lowest = images, torch.full_like(labels, torch.inf, dtype=torch.float64)
    with frozen_eval(classifier):
        aim = attack_context(classifier, images, labels, attack, clean, targets)
        seeds = range(len(images)) if seeds is None else seeds
        aim = aim if isinstance(seeds, Tensor) else aim._replace(seeds=seeds)
        for restart in range(attack.restarts):
            start = start_of(images, attack, seeds, restart)
            for iterate in pgd_steps(classifier, start, aim.start(restart), attack, clean):
                last = iterate.images
            if attack.restarts == 1:
                return last
            with torch.no_grad():
                reached = lead(classifier(last), labels, None if attack.target is None else aim.target).double()
            better = reached < lowest
            best, lowest = torch.where(better[:, None, None, None], last, best), torch.where(better, reached, lowest)
    return best


def best_points(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    attack: Attack,
    readings: Collection[int],
    *,
    seeds: Sequence[int] | Tensor | None = None,
) -> dict[int, Images]:
    """Best points of an attack on maps after several numbers of steps: equal to separate attacks of so many steps.

    The attack's own number plays no part. Arguments and what is returned for each reading as of `perturb`.
    """
    attack = replace(attack, steps=max(readings), step_size=attack.step_length)
    found: dict[int, Best] = {}
    with frozen_eval(classifier):
        aim = attack_context(classifier, images, labels, attack)
        assert aim.best is not None
        for restart in range(attack.restarts):
            start = start_of(images, attack, range(len(images)) if seeds is None else seeds, restart)
            for iterate in pgd_steps(classifier, start, aim, attack):
                if iterate.step in readings and iterate.best is not None:
                    last = iterate.best.or_better(iterate.images, score_of(classifier, iterate.images, aim, attack))
                    found[iterate.step] = found.get(iterate.step, aim.best).or_better(*last)
    return {step: best.images for step, best in found.items()}


def start_of(images: Images, attack: Attack, seeds: Sequence[int] | Tensor, restart: int = 0) -> Images:
    """First point of an attack: the images, or a point of the ball drawn by (seed, restart) of each image alone."""
    if not attack.random_start:
        return images.detach()
    draws = seeds if isinstance(seeds, Tensor) else uniform(reseed(seeds, restart), images.shape)
    noise = NORMS[attack.norm].start(draws, attack.eps)
    return (images.detach() + noise.to(images)).clamp(0, 1)


def attack_context(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    attack: Attack,
    clean: CleanGradient | None = None,
    targets: Labels | None = None,
) -> AttackContext:
    """Fix labels, target and areas of an attack; the clean images pass the borrowed classifier only where needed.

    `clean` and `targets` as of `perturb`.
    """
    areas = None
    logits = None if clean is None else clean.logits
    if attack.distance is not None:
        return _map_context(classifier, images.detach(), labels, attack)

    def clean_logits() -> Tensor:
        if logits is not None:
            return logits
        with torch.no_grad():
            made: Tensor = classifier(images)
        return made

    if attack.sigma is not None:
        logits, maps = logits_and_maps(classifier, images, labels, detach_input=True)
        logits, maps = logits.detach(), maps.relu()
        areas = above_mean(maps) & (maps.amax((1, 2), keepdim=True) > 0)  # eq. 3; a map of zeros has no area
    target = attack.climbed.aim(clean_logits, labels) if targets is None else targets
    return AttackContext(images, labels, target, areas)


def _map_context(classifier: Classifier, images: Images, labels: Labels, attack: Attack) -> AttackContext:
    """Clean predictions, their maps, and the clean images as the best points so far, of an attack on maps."""
    logits, maps = maps_under_attack(classifier, images, None, attack)
    clean = MapPoint(logits, logits.argmax(1), torch.zeros_like(logits[:, 0]))
    best = Best(images, MAP_OBJECTIVES[attack.objective].score(clean, attack.keep))
    return AttackContext(images, labels, clean.classes, maps=maps, best=best)


def maps_under_attack(
    classifier: Classifier, images: Images, classes: Labels | None, attack: Attack
) -> tuple[Logits, Maps]:
    """Logits and maps of the method that an attack on maps is about, detached; without classes of the predictions."""
    maps_of = METHODS[attack.method].maps
    logits, maps = logits_and_maps(classifier, images, classes, detach_input=True, method=maps_of)
    return logits.detach(), maps.detach()


class Iterate(NamedTuple):
    """A point on the way of an attack."""

    step: int  # number of gradient steps made, from 1 on
    images: Images
    # of the point before; None where the clean pass was given, or the step rule took the gradient elsewhere
    logits: Logits | None
    state: State  # of the step rule, to climb on from here
    best: Best | None = None  # of an attack on maps: of the clean image and the points before this one


def pgd_steps(
    classifier: Classifier,
    start: Images,
    aim: AttackContext,
    attack: Attack,
    clean: CleanGradient | None = None,
    state: State = (),
) -> Iterator[Iterate]:
    """Yield the point after each step: climb by the step rule, and step back into the ball and the pixel range.

    The classifier is borrowed already, and the start lies in the ball. `clean` is as of `perturb`; `state` is the step
    rule's, where the start is a point on the way.
    """
    images, point, best = aim.images.detach(), start.detach(), aim.best
    norm, rule = NORMS[attack.norm], RULES[attack.rule]
    inside = norm.ball(images, attack.eps)
    for step in range(attack.steps):
        seen = point if rule.look is None else rule.look(point, state, attack.step_length)
        if step == 0 and clean is not None:
            logits, gradient = None, clean.gradient
        elif best is not None:
            logits, gradient, scores = _map_gradient(classifier, seen, aim, attack)
            best = best.or_better(seen, scores)
        else:
            logits, gradient = _loss_gradient(classifier, seen, aim._replace(turn=aim.turn + step), attack)
        if attack.kernel is not None:
            gradient = smoothed(gradient, attack.kernel)
        direction, state = rule.direction(gradient, state, norm.steepest)
        # in place: each new tensor of a CPU's large batch costs as much as the arithmetic
        point, before = inside(direction.mul_(attack.step_length).add_(point)), point
        yield Iterate(step + 1, point, logits if seen is before and attack.diversity is None else None, state, best)


def _loss_gradient(classifier: Classifier, point: Images, aim: AttackContext, attack: Attack) -> tuple[Logits, Tensor]:
    """Logits at a point, and the gradient of what is climbed."""
    point = point.detach().requires_grad_()
    objective = attack.climbed
    with torch.enable_grad():
        if aim.areas is None or attack.sigma is None:
            seen = point
            if attack.diversity is not None:
                seen = diversified(point, reseed(aim.seeds, aim.turn), attack.diversity)
            logits = classifier(seen)
            value = objective.value(logits, aim.target, attack.label_smoothing)
        else:
            logits, maps = logits_and_maps(classifier, point, aim.labels, create_graph=True)
            value = objective.value(logits, aim.target, attack.label_smoothing)
            value = value + attack.sigma * attention_deviation(aim.areas, normalize_max(maps))  # eq. 12
        check_gradient(logits)
        (gradient,) = torch.autograd.grad(value.sum(), point)
    return logits.detach(), gradient


def _map_gradient(
    classifier: Classifier, point: Images, aim: AttackContext, attack: Attack
) -> tuple[Logits, Tensor, PerImage]:
    """Logits at a point, the gradient of what an attack on maps climbs there, and the point's score.

    With `softplus` the gradient alone is of the smoothed network; the score is of the network as it is.
    """
    point, scores = point.detach().requires_grad_(), None
    objective = MAP_OBJECTIVES[attack.objective]
    if attack.softplus is not None:
        scores = score_of(classifier, point.detach(), aim, attack)
    with torch.enable_grad(), softplus_for_relu(attack.softplus):
        seen = _look(classifier, point, aim, attack, create_graph=True)
        check_gradient(seen.logits)
        (gradient,) = torch.autograd.grad(objective.value(seen, attack.keep).sum(), point)
    if scores is None:
        scores = objective.score(MapPoint(*(part.detach() for part in seen)), attack.keep)
    return seen.logits.detach(), gradient, scores


def score_of(classifier: Classifier, point: Images, aim: AttackContext, attack: Attack) -> PerImage:
    """How good a point is for an attack on maps, (N,), see `MapObjective.score`."""
    seen = _look(classifier, point, aim, attack)
    return MAP_OBJECTIVES[attack.objective].score(MapPoint(*(part.detach() for part in seen)), attack.keep)


def _look(
    classifier: Classifier, point: Images, aim: AttackContext, attack: Attack, *, create_graph: bool = False
) -> MapPoint:
    """What an attack on maps sees of a point."""
    assert aim.maps is not None
    assert attack.distance is not None
    maps_of, cut = METHODS[attack.method].maps, not create_graph
    logits, maps = logits_and_maps(
        classifier, point, aim.target, detach_input=cut, create_graph=create_graph, method=maps_of
    )
    return MapPoint(logits, aim.target, DISTANCES[attack.distance](aim.maps, maps))
