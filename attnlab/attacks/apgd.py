"""Auto-PGD: ascent with momentum that finds its own step size (Croce and Hein 2020, Reliable evaluation, sec. 3)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.arrays import Images, Labels, Logits, PerImage
from attnlab.attacks.balls import column
from attnlab.attacks.norms import NORMS, Norm
from attnlab.attacks.objectives import cross_entropy, margin
from attnlab.attacks.seeding import uniform
from attnlab.errors import UserError, check_one_of
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier

ALPHA = 0.75  # alpha of sec. 3.2: share of the step taken now, the rest is the last step's
RHO = 0.75  # rho of condition 1: a smaller share of rising steps halves the step


def dlr_targeted(logits: Logits, labels: Labels, targets: Labels) -> PerImage:
    """-(z_y - z_t) / (z_pi1 - (z_pi3 + z_pi4) / 2) of each image, (N,), pi sorting downwards (eq. 6); K >= 4."""
    first, _, third, fourth = logits.topk(4).values.unbind(1)
    gap = logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])
    return gap[:, 0] / (first - (third + fourth) / 2 + 1e-12)


def dlr(logits: Logits, labels: Labels) -> PerImage:
    """-(z_y - max_{j != y} z_j) / (z_pi1 - z_pi3) of each image, (N,), pi sorting downwards (eq. 4); K >= 3."""
    first, _, third = logits.topk(3).values.unbind(1)
    return -margin(logits, labels) / (first - third + 1e-12)


Objective = Callable[[Logits, Labels, Labels], PerImage]  # (logits, labels, targets) -> what is climbed
OBJECTIVES: dict[str, Objective] = {
    "cross-entropy": lambda logits, labels, _targets: cross_entropy(logits, labels),
    "dlr": lambda logits, labels, _targets: dlr(logits, labels),
    "dlr-targeted": dlr_targeted,
}


def rivals(logits: Logits, labels: Labels, rank: int) -> Labels:
    """The class other than the label that comes `rank`-th by its logit, the highest being 1, (N,)."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.topk(rank).indices[:, -1]


def checkpoints(steps: int) -> list[int]:
    """Steps after which the step size is judged: ceil(p_j * steps), p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)."""
    before, now, judged = 0, 22, set()
    while now <= 100:  # p in hundredths: as fractions, 0.41 * 100 would round up to 42
        judged.add(-(-now * steps // 100))
        before, now = now, now + max(now - before - 3, 6)
    return sorted(judged)


def to_halve(history: Tensor, last: int, now: int, halved: Tensor) -> Tensor:
    """Which images halve their step at a checkpoint, (N,), bool (conditions 1 and 2 of sec. 3.3).

    `history` is the objective after 0, 1, ... steps, (N, at least now + 1); `halved` is the answer at the last
    checkpoint.
    """
    window = history[:, last : now + 1]
    rises = (window[:, 1:] > window[:, :-1]).sum(1)
    stalls = history[:, : now + 1].amax(1) == history[:, : last + 1].amax(1)
    return (rises < RHO * (now - last)) | (stalls & ~halved)


class _Climb(NamedTuple):
    """State of each image that still stands; every field has a row per image."""

    rows: Tensor  # in the batch
    labels: Labels
    targets: Labels
    images: Images  # centres of the balls
    last: Tensor  # x^(k-1)
    point: Tensor  # x^(k)
    gradient: Tensor  # at the point
    best: Tensor  # x_max
    best_gradient: Tensor
    history: Tensor  # objective after each step, (n, steps + 1), -inf where not yet known
    step_size: Tensor  # eta, (n, 1, 1, 1)
    halved: Tensor  # at the last checkpoint

    def of(self, rows: Tensor) -> "_Climb":
        """Those images alone."""
        return _Climb(*(part[rows] for part in self))

    def step(self, first: bool, eps: float, norm: Norm) -> "_Climb":
        """One step with momentum (sec. 3.2); the first has none."""
        alpha, inside = 1.0 if first else ALPHA, norm.ball(self.images, eps)
        aim = inside(self.point + self.step_size * norm.steepest(self.gradient))
        point = self.point + alpha * (aim - self.point) + (1 - alpha) * (self.point - self.last)
        return self._replace(last=self.point, point=inside(point))

    def note(self, k: int, values: Tensor, gradient: Tensor) -> "_Climb":
        """Record the point after k steps, with its objective and gradient, and the best point so far."""
        better = column(values > self.history.amax(1))
        self.history[:, k] = values
        return self._replace(
            gradient=gradient,
            best=torch.where(better, self.point, self.best),
            best_gradient=torch.where(better, gradient, self.best_gradient),
        )

    def judge(self, last: int, now: int) -> "_Climb":
        """At a checkpoint: halve the step where it is too long, and go on from the best point there."""
        halve = to_halve(self.history, last, now, self.halved)
        back = column(halve)
        return self._replace(
            point=torch.where(back, self.best, self.point),
            gradient=torch.where(back, self.best_gradient, self.gradient),
            step_size=torch.where(back, self.step_size / 2, self.step_size),
            halved=halve,
        )


def apgd(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    eps: float,
    seeds: Sequence[int],
    *,
    objective: str = "cross-entropy",
    target_rank: int = 1,
    steps: int = 100,
    norm: str = "linf",
    passes: int = 1,
) -> Images:
    """Attack by Auto-PGD in a ball (Croce and Hein 2020, algorithm 1), as `AttackFunction.run`.

    An image leaves the batch with the first point that is misclassified: going on could not change the outcome. It
    costs at most steps + 2 forward passes, one of them of the clean image; other images keep the point of highest
    objective. Where the paper leaves a choice open, it is made as in the authors' code: the start is noise stretched to
    touch the ball, and a step from x_max counts as rising or not against the point that x_max replaced. The target of
    "dlr-targeted" is the class of that rank among the others, by the clean logits.

    With several `passes` a gradient is the mean over so many, for networks that answer at random (expectation over
    transformation, Athalye et al. 2018). The last of them says the objective and whether a point is misclassified, as
    in the authors' code. Since the next one may say otherwise, no image leaves early; one keeps the last point that was
    misclassified, or stays as it is if there was none. It costs 1 + passes (steps + 1) forward passes then.

    Raises:
        UserError: If the objective is unknown or needs more classes than there are.
    """
    climbed = OBJECTIVES[check_one_of(objective, OBJECTIVES, "objective")]
    if objective == "dlr-targeted" and classifier.classes < max(4, target_rank + 1):
        raise UserError(
            f"expected at least {max(4, target_rank + 1)} classes for dlr-targeted of rank {target_rank}, got "
            f"{classifier.classes}; climb cross-entropy instead"
        )
    if objective == "dlr" and classifier.classes < 3:
        raise UserError(f"expected at least 3 classes for dlr, got {classifier.classes}; climb cross-entropy instead")
    images = images.detach()
    adversarial = images.clone()
    with frozen_eval(classifier):
        climb = _start(classifier, images, labels, eps, seeds, target_rank, steps, NORMS[norm])
        last, judged = 0, checkpoints(steps)
        for k in range(steps + 1):
            if len(climb.rows) == 0:
                return adversarial
            if k > 0:
                climb = climb.step(k == 1, eps, NORMS[norm])
            logits, values, gradient = _observe(classifier, climb, climbed, passes)
            climb = climb.note(k, values, gradient)
            broken = logits.argmax(1) != climb.labels
            if broken.any():
                adversarial[climb.rows[broken]] = climb.point[broken]
                climb = climb.of(~broken) if passes == 1 else climb
            if k in judged:
                climb, last = climb.judge(last, k), k
    if passes == 1:
        adversarial[climb.rows] = climb.best
    return adversarial


def _start(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    eps: float,
    seeds: Sequence[int],
    rank: int,
    steps: int,
    norm: Norm,
) -> _Climb:
    """The images that the clean pass classifies correctly, each at its random start."""
    with torch.no_grad():
        logits = classifier(images)
    noise = norm.start(uniform(seeds, images.shape), 1.0).to(images)
    noise = eps * noise / column(norm.length(noise))
    point = norm.ball(images, eps)(images + noise)
    count, still = len(images), torch.zeros_like(images)
    climb = _Climb(
        rows=torch.arange(count, device=images.device),
        labels=labels,
        targets=rivals(logits, labels, min(rank, logits.shape[1] - 1)),
        images=images,
        last=point,
        point=point,
        gradient=still,
        best=point,
        best_gradient=still,
        history=torch.full((count, steps + 1), -torch.inf, dtype=logits.dtype, device=images.device),
        step_size=torch.full((count, 1, 1, 1), 2 * eps, dtype=images.dtype, device=images.device),
        halved=torch.zeros_like(labels, dtype=torch.bool),
    )
    return climb.of(logits.argmax(1) == labels)


def _observe(
    classifier: Classifier, climb: _Climb, objective: Objective, passes: int
) -> tuple[Logits, PerImage, Tensor]:
    """Logits and objective at the points, of the last of so many passes, and the mean of the gradients of all."""
    point = climb.point.detach().requires_grad_()
    total = torch.zeros_like(point)
    for _ in range(passes):
        with torch.enable_grad():
            logits = classifier(point)
            values = objective(logits, climb.labels, climb.targets)
            (gradient,) = torch.autograd.grad(values.sum(), point)
        total = gradient if passes == 1 else total.add_(gradient)
    return logits.detach(), values.detach(), total if passes == 1 else total.div_(passes)
