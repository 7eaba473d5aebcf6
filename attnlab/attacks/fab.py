"""Targeted FAB: the nearest point beyond the boundary to a class (Croce and Hein 2020, Fast adaptive boundary)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.linalg import vecdot

from attnlab.arrays import Images, Labels, Logits, PerImage
from attnlab.attacks.apgd import rivals
from attnlab.attacks.balls import column
from attnlab.attacks.norms import NORMS, Norm
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier

ALPHA_MAX = 0.1  # largest share of the image's own projection in a step (sec. 3.2)
OVERSHOOT = 1.05  # eta: how far a step goes, in lengths of the way to the hyperplane
BACKWARD = 0.9  # beta: where the next step begins, once beyond the boundary, on the way there from the image (sec. 3.3)
SHORTEST = 1e-8  # a projection counts as so long at least, where two are weighed


def fab(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    eps: float,
    seeds: Sequence[int],
    *,
    norm: str = "linf",
    target_rank: int = 1,
    steps: int = 100,
) -> Images:
    """Attack by targeted FAB, as `AttackFunction.run`; an image for which it finds nothing in the ball stays as it is.

    It aims at the class of that rank among the others, by the clean logits. An image leaves the batch with the first
    point in the ball that is misclassified: going on would find a nearer one, and not change the outcome. It starts at
    the image, so that nothing is drawn from the seeds.
    """
    points, distances = nearest_adversarial(
        classifier, images, labels, norm=norm, target_rank=target_rank, steps=steps, enough=eps
    )
    return torch.where(column(distances <= eps), points, images.detach())


def nearest_adversarial(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    *,
    norm: str = "linf",
    target_rank: int = 1,
    steps: int = 100,
    enough: float = 0.0,
) -> tuple[Images, PerImage]:
    """The nearest misclassified point of each image that FAB finds, and how far it is: inf where it finds none.

    Points lie in [0, 1]; an image that is misclassified is its own, at a distance of 0. One leaves the batch once its
    point is no farther than `enough`. Each step costs a gradient and a forward pass.
    """
    images, measure = images.detach(), NORMS[norm]
    with frozen_eval(classifier):
        watched, logits = _pass(classifier, images)
        right = logits.argmax(1) == labels
        nearest, distances = images.clone(), torch.zeros_like(images[:, 0, 0, 0]).masked_fill_(right, torch.inf)
        targets = rivals(logits.detach(), labels, target_rank)
        rows = right.nonzero()[:, 0]
        point = centre = images[rows]
        for step in range(steps):
            if not len(rows):
                break
            if step or len(rows) < len(images):  # else the pass over the images is the first step's
                watched, logits = _pass(classifier, point)
            lead, gradient = _lead(watched, logits, labels[rows], targets[rows])
            point = _step(point, centre, lead, gradient, measure)
            with torch.no_grad():
                beyond = classifier(point).argmax(1) != labels[rows]
            away = point - centre
            far = measure.length(away)
            nearer = beyond & (far < distances[rows])
            nearest[rows[nearer]], distances[rows[nearer]] = point[nearer], far[nearer]
            point = torch.where(column(beyond), away.mul_(BACKWARD).add_(centre), point)
            if bool((nearer & (far <= enough)).any()):
                left = distances[rows] > enough
                rows, point, centre = rows[left], point[left], centre[left]
    return nearest, distances


def _pass(classifier: Classifier, point: Images) -> tuple[Images, Logits]:
    """Points that require a gradient, and their logits with a graph."""
    point = point.detach().requires_grad_()
    with torch.enable_grad():
        return point, classifier(point)


def _lead(point: Images, logits: Logits, labels: Labels, targets: Labels) -> tuple[PerImage, Tensor]:
    """z_t - z_y at each point, (n,), and its gradient: the boundary to the target is where it is 0."""
    with torch.enable_grad():
        lead = (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None]))[:, 0]
        (gradient,) = torch.autograd.grad(lead.sum(), point)
    return lead.detach().to(point.dtype), gradient


def _step(point: Images, centre: Images, lead: PerImage, gradient: Tensor, norm: Norm) -> Images:
    """One step (algorithm 1): both point and image go beyond the boundary's tangent plane; a weighed mean of the two.

    The nearer the point's projection lies, in comparison with the image's, the less the image draws.
    """
    offset = lead + vecdot(gradient.flatten(1), (centre - point).flatten(1))
    own, other = ways_to_hyperplanes([(point, lead), (centre, offset)], gradient, norm)
    way, way_of_other = (norm.length(each).clamp_(min=SHORTEST) for each in (own, other))
    alpha = column((way / (way + way_of_other)).clamp_(max=ALPHA_MAX))
    moved = own.mul_(OVERSHOOT).add_(point).mul_(1 - alpha)  # in place: a new tensor costs as much as the arithmetic
    return moved.add_(other.mul_(OVERSHOOT).add_(centre).mul_(alpha)).clamp_(0, 1)


def ways_to_hyperplanes(starts: Sequence[tuple[Images, PerImage]], normals: Tensor, norm: Norm) -> list[Tensor]:
    """Shortest way from points to hyperplanes of the same normals within [0, 1], (N, C, H, W) each (eq. 5).

    Each start is points and their offsets, (N,): normal times way is to be -offset. Where [0, 1] does not reach the
    plane, the way goes as near as it can.

    All pixels move along the norm's steepest direction until they meet 0 or 1. How far they get in all rises with the
    length, concave and piecewise linear, so that Newton's steps from below find the length exactly, without sorting:
    with each some more pixels have met their bound.
    """
    shape = normals.shape
    along = norm.steepest(normals).flatten(1)
    gain = along * normals.flatten(1)
    slowness = None if norm.even else along.abs().clamp_(min=torch.finfo(along.dtype).tiny).reciprocal_()
    # in place, and by kernels that work on many numbers at once, as where does not
    part, ways = torch.empty_like(gain), []
    whole = gain.sum(1)
    for points, offsets in starts:
        heading = along * torch.where(offsets >= 0, -1, 1)[:, None]
        bound = torch.gt(heading, 0, out=torch.empty_like(heading))  # 1 or 0
        met = bound.sub_(points.flatten(1)).abs_()  # length to it
        met = met if slowness is None else met.mul_(slowness)
        needed, before = offsets.abs(), whole
        length = (needed / whole).nan_to_num_(0)
        while not torch.equal(slope := torch.gt(met, length[:, None], out=part).mul_(gain).sum(1), before):
            reached = torch.minimum(met, length[:, None], out=part).mul_(gain).sum(1)
            further = ((needed - reached) / slope).nan_to_num_(0)
            length, before = torch.maximum(length, (length + further).nan_to_num_()), slope
        ways.append(torch.minimum(met, length[:, None]).mul_(heading).view(shape))
    return ways
