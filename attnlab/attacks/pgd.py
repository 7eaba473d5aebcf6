"""Projected gradient ascent in an L-infinity ball: the only attack loop. FGSM and StepLL are its single steps."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.arrays import Areas, Images, Labels, Logits
from attnlab.attacks import OBJECTIVES, RULES, Attack, State
from attnlab.attacks.objectives import attention_deviation, margin
from attnlab.attacks.seeding import reseed, uniform
from attnlab.attention.gradcam import logits_and_maps
from attnlab.attention.map_metrics import above_mean, normalize_max
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.models.outputs import check_gradient


class CleanGradient(NamedTuple):
    """A pass over the clean images, detached: where every attack without a random start begins."""

    logits: Logits
    gradient: Tensor  # of the objective by the images, (N, C, H, W)


class AttackContext(NamedTuple):
    """Inputs of an attack that are fixed before its first step."""

    images: Images  # centres of the balls
    labels: Labels
    target: Tensor  # what the objective aims at, see `Objective.aim`
    areas: Areas | None  # Att(x) for A3

    def take(self, rows: Tensor) -> "AttackContext":
        """The same for some of the images."""
        areas = None if self.areas is None else self.areas[rows]
        return AttackContext(self.images[rows], self.labels[rows], self.target[rows], areas)


def clean_gradient(logits: Logits, images: Images, labels: Labels, attack: Attack) -> CleanGradient:
    """Gradient of the attack's objective at clean images, from the logits, with their graph, of a pass already made.

    Not for A3, whose maps that pass does not hold; the attack's eps plays no part. The images require a gradient.
    """
    detached = logits.detach()
    objective = OBJECTIVES[attack.objective]
    target = objective.aim(lambda: detached, labels)
    with torch.enable_grad():
        value = objective.value(logits, target, attack.label_smoothing)
        (gradient,) = torch.autograd.grad(value.sum(), images)
    return CleanGradient(detached, gradient)


def perturb(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    attack: Attack,
    *,
    seeds: Sequence[int] | Tensor | None = None,
    clean: CleanGradient | None = None,
) -> Images:
    """Attack a batch by the loop: images in [0, 1] at most eps from the given ones, detached.

    The classifier is attacked in eval mode and given back as it was.

    Args:
        seeds: Of each image's random starts; by default its place in the batch. Or what the start of an attack without
            restarts is made from: numbers drawn uniformly from [0, 1), (N, C, H, W).
        clean: The attack's `clean_gradient`, if it was made already: it saves the first step's. Not for an attack that
            starts elsewhere, or with A3.
    """
    best, lowest = images, torch.full_like(labels, torch.inf, dtype=torch.float64)
    with frozen_eval(classifier):
        aim = attack_context(classifier, images, labels, attack, clean)
        for restart in range(attack.restarts):
            start = start_of(images, attack, range(len(images)) if seeds is None else seeds, restart)
            for iterate in pgd_steps(classifier, start, aim, attack, clean):
                last = iterate.images
            if attack.restarts == 1:
                return last
            with torch.no_grad():
                reached = margin(classifier(last), labels).double()
            better = reached < lowest
            best, lowest = torch.where(better[:, None, None, None], last, best), torch.where(better, reached, lowest)
    return best


def start_of(images: Images, attack: Attack, seeds: Sequence[int] | Tensor, restart: int = 0) -> Images:
    """First point of an attack: the images, or a point of the ball drawn by (seed, restart) of each image alone."""
    if not attack.random_start:
        return images.detach()
    draws = seeds if isinstance(seeds, Tensor) else uniform(reseed(seeds, restart), images.shape)
    noise = attack.eps * (2 * draws - 1)
    return (images.detach() + noise.to(images)).clamp(0, 1)


def attack_context(
    classifier: Classifier, images: Images, labels: Labels, attack: Attack, clean: CleanGradient | None = None
) -> AttackContext:
    """Fix labels, target and areas of an attack; the clean images pass the borrowed classifier only where needed."""
    areas = None
    logits = None if clean is None else clean.logits

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
    return AttackContext(images, labels, OBJECTIVES[attack.objective].aim(clean_logits, labels), areas)


class Iterate(NamedTuple):
    """A point on the way of an attack."""

    step: int  # number of gradient steps made, from 1 on
    images: Images
    # of the point before; None where the clean pass was given, or the step rule took the gradient elsewhere
    logits: Logits | None
    state: State  # of the step rule, to climb on from here


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
    images, point = aim.images.detach(), start.detach()
    lowest, highest = (images - attack.eps).clamp_(min=0), (images + attack.eps).clamp_(max=1)
    rule = RULES[attack.rule]
    for step in range(attack.steps):
        seen = point if rule.look is None else rule.look(point, state, attack.step_length)
        if step == 0 and clean is not None:
            logits, gradient = None, clean.gradient
        else:
            logits, gradient = _loss_gradient(classifier, seen, aim, attack)
        direction, state = rule.direction(gradient, state)
        # in place: each new tensor of a CPU's large batch costs as much as the arithmetic
        point, before = direction.mul_(attack.step_length).add_(point).clamp_(lowest, highest), point
        yield Iterate(step + 1, point, logits if seen is before else None, state)


def _loss_gradient(classifier: Classifier, point: Images, aim: AttackContext, attack: Attack) -> tuple[Logits, Tensor]:
    """Logits at a point, and the gradient of what is climbed."""
    point = point.detach().requires_grad_()
    objective = OBJECTIVES[attack.objective]
    with torch.enable_grad():
        if aim.areas is None or attack.sigma is None:
            logits = classifier(point)
            value = objective.value(logits, aim.target, attack.label_smoothing)
        else:
            logits, maps = logits_and_maps(classifier, point, aim.labels, create_graph=True)
            value = objective.value(logits, aim.target, attack.label_smoothing)
            value = value + attack.sigma * attention_deviation(aim.areas, normalize_max(maps))  # eq. 12
        check_gradient(logits)
        (gradient,) = torch.autograd.grad(value.sum(), point)
    return logits.detach(), gradient
