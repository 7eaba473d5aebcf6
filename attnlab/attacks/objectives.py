"""Objectives that attacks climb: a value per image, (N,), of the logits and of what the attack aims at."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.arrays import Areas, Labels, Logits, Maps, PerImage
from attnlab.attacks.limits import LEAST_LIKELY, LIKELY, likely_rank
from attnlab.errors import UserError

KAPPA = 50.0  # confidence that CW asks for beyond the decision boundary, in logits (Carlini and Wagner 2017)


def cross_entropy(logits: Logits, classes: Labels, smoothing: float = 0.0) -> PerImage:
    """Cross-entropy of each image, (N,): away from the class (Goodfellow et al. 2015)."""
    return F.cross_entropy(logits, classes, reduction="none", label_smoothing=smoothing)


def towards(logits: Logits, classes: Labels, smoothing: float = 0.0) -> PerImage:
    """Negative cross-entropy of each image, (N,): towards the class (Kurakin et al. 2017; eq. 4 of the paper)."""
    return -cross_entropy(logits, classes, smoothing)


def cw(logits: Logits, classes: Labels, _smoothing: float = 0.0) -> PerImage:
    """-relu(z_y - max_{j != y} z_j + kappa) of each image, (N,), kappa 50 (Carlini and Wagner 2017)."""
    return -(margin(logits, classes) + KAPPA).relu()


def cw_towards(logits: Logits, targets: Labels, _smoothing: float = 0.0) -> PerImage:
    """-relu(max_{j != t} z_j - z_t + kappa) of each image, (N,): the same towards a class."""
    return -(KAPPA - margin(logits, targets)).relu()


def divergence(logits: Logits, probabilities: Tensor, _smoothing: float = 0.0) -> PerImage:
    """KL(p(x) || p(x_adv)) of each image, (N,) (TRADES, Zhang et al. 2019). At x itself it has no gradient."""
    return F.kl_div(logits.log_softmax(1), probabilities, reduction="none").sum(1)


def margin(logits: Logits, labels: Labels) -> PerImage:
    """z_y - max_{j != y} z_j of each image, (N,): below 0 where the label is not the prediction."""
    others = logits.scatter(1, labels[:, None], -float("inf"))
    return logits.gather(1, labels[:, None])[:, 0] - others.amax(1)


def lead(logits: Logits, labels: Labels, targets: Labels | None) -> PerImage:
    """What an attack on predictions has to bring below 0, (N,), in logits.

    It is by how much the label leads every other class, or of a targeted attack by how much the target is behind.
    """
    return margin(logits, labels) if targets is None else -margin(logits, targets)


def attention_deviation(areas: Areas, maps: Maps) -> PerImage:
    """||Att(x) - g(x_adv)||_1 a cell, of each image, (N,) (A3, eq. 11 of the paper); 0 for an image without an area.

    The paper does not say at what size the maps are compared, and its sum grows with that size. The mean over the cells
    of maps scaled to [0, 1] lies there too, so that sigma means the same for every network; the sum is sigma times the
    number of cells.
    """
    there = areas.flatten(1).any(1)
    return (areas.to(maps.dtype) - maps).abs().mean((1, 2)) * there


def true_label(_clean_logits: Callable[[], Logits], labels: Labels) -> Labels:
    """The label."""
    return labels


def least_likely(clean_logits: Callable[[], Logits], _labels: Labels) -> Tensor:
    """y_LL: the class of lowest confidence on the clean image, over all classes (eq. 4 of the paper)."""
    return clean_logits().argmin(1)


def target_classes(target: int | str, clean_logits: Callable[[], Logits], labels: Labels) -> Labels:
    """The class that a targeted attack moves each image to, (N,); `target` as of `check_target`."""
    if target == LEAST_LIKELY:
        return least_likely(clean_logits, labels)
    rank = likely_rank(target) if isinstance(target, str) else None
    if rank is None:
        return torch.full_like(labels, int(target))
    logits = clean_logits()
    if rank > logits.shape[1]:
        raise UserError(
            f"expected a target of at most {LIKELY}{logits.shape[1]}, got {target}: there are no more classes"
        )
    return logits.topk(rank).indices[:, -1]


def clean_probabilities(clean_logits: Callable[[], Logits], _labels: Labels) -> Tensor:
    """p(x): the clean image's probabilities."""
    return clean_logits().softmax(1)
