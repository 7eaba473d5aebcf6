"""Projected gradient ascent in a ball: the only attack loop. FGSM and StepLL are its single steps."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.arrays import Areas, Images, Labels, Logits, PerImage
from attnlab.attacks import DISTANCES, MAP_OBJECTIVES, RULES, Attack, State
from attnlab.attacks.clean_pass import CleanPass
from attnlab.attacks.context import AttackContext, attack_context, start_of
from attnlab.attacks.map_distances import both_show
from attnlab.attacks.map_objectives import Best, MapPoint
from attnlab.attacks.norms import NORMS
from attnlab.attacks.objectives import attention_deviation, lead
from attnlab.attacks.seeding import reseed
from attnlab.attacks.smoothing import softplus_for_relu
from attnlab.attacks.transforms import diversified, smoothed
from attnlab.attention import METHODS
from attnlab.attention.gradcam import logits_and_maps
from attnlab.attention.map_metrics import normalize_max
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.models.outputs import check_gradient


def perturb(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    attack: Attack,
    *,
    seeds: Sequence[int] | Tensor | None = None,
    clean: CleanPass | None = None,
    targets: Labels | None = None,
    truth: Areas | None = None,
) -> Images:
    """Attack a batch by the loop: images in [0, 1] at most eps from the given ones, detached.

    The classifier is attacked in eval mode and given back as it was. An attack on maps leaves each image with the best
    point of all starts, see `MapObjective`; another one with the last point of the start whose `lead` is lowest.

    Args:
        seeds: Of each image's random starts; by default its place in the batch. Or what the start of an attack without
            restarts is made from: numbers drawn uniformly from [0, 1), (N, C, H, W).
        clean: A pass over these images that was made already: it saves the attack's own, and with the attack's
            `clean_gradient` the first step's. Not for an attack on maps.
        targets: Of a targeted attack, the class that each image is moved to, (N,), if `targets_of` gave it already.
        truth: Ground truth of the images, (N, H, W), for an attack that goes outside or inside it alone: the other
            pixels of an image stay as they are, to the bit.

    Raises:
        UserError: If such an attack is given no ground truth.
    """
    if attack.distance is not None:
        points = best_points(classifier, images, labels, attack, [attack.steps], seeds=seeds, truth=truth)
        return points[attack.steps]
    best, lowest = images, torch.full_like(labels, torch.inf, dtype=torch.float64)
    with frozen_eval(classifier):
        aim = attack_context(classifier, images, labels, attack, clean, targets, truth)
        seeds = range(len(images)) if seeds is None else seeds
        aim = aim if isinstance(seeds, Tensor) else aim._replace(seeds=seeds)
        for restart in range(attack.restarts):
            start = start_of(images, attack, seeds, restart, aim.region)
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
    truth: Areas | None = None,
) -> dict[int, Images]:
    """Best points of an attack on maps after several numbers of steps: equal to separate attacks of so many steps.

    The attack's own number plays no part. Arguments and what is returned for each reading as of `perturb`.
    """
    attack = replace(attack, steps=max(readings), step_size=attack.step_length)
    found: dict[int, Best] = {}
    with frozen_eval(classifier):
        aim = attack_context(classifier, images, labels, attack, truth=truth)
        assert aim.best is not None
        for restart in range(attack.restarts):
            start = start_of(images, attack, range(len(images)) if seeds is None else seeds, restart, aim.region)
            for iterate in pgd_steps(classifier, start, aim, attack):
                if iterate.step in readings and iterate.best is not None:
                    last = iterate.best.or_better(iterate.images, score_of(classifier, iterate.images, aim, attack))
                    found[iterate.step] = found.get(iterate.step, aim.best).or_better(*last)
    return {step: best.images for step, best in found.items()}


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
    clean: CleanPass | None = None,
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
        if step == 0 and clean is not None and clean.gradient is not None:
            logits, gradient = None, clean.gradient
        elif best is not None:
            logits, gradient, scores = _map_gradient(classifier, seen, aim, attack)
            best = best.or_better(seen, scores)
        else:
            logits, gradient = _loss_gradient(classifier, seen, aim._replace(turn=aim.turn + step), attack)
        if attack.kernel is not None:
            gradient = smoothed(gradient, attack.kernel)
        if aim.region is not None:
            gradient = gradient * aim.region
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
    distances, shown = DISTANCES[attack.distance](aim.maps, maps), both_show(aim.maps, maps, attack.distance)
    return MapPoint(logits, aim.target, distances, shown)
