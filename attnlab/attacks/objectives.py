"""What an attack climbs: a value per image, (N,), of the logits and of what the attack aims at."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

#: confidence that CW asks for beyond the decision boundary, in logits (Carlini and Wagner 2017)
KAPPA = 50.0


def cross_entropy(logits: Tensor, classes: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each image, (N,): away from the class (Goodfellow et al. 2015)."""
    return F.cross_entropy(logits, classes, reduction="none", label_smoothing=smoothing)


def towards(logits: Tensor, classes: Tensor, smoothing: float = 0.0) -> Tensor:
    """Negative cross-entropy of each image, (N,): towards the class (Kurakin et al. 2017; eq. 4 of the paper)."""
    return -cross_entropy(logits, classes, smoothing)


def cw(logits: Tensor, classes: Tensor, _smoothing: float = 0.0) -> Tensor:
    """-relu(z_y - max_{j != y} z_j + kappa) of each image, (N,), kappa 50 (Carlini and Wagner 2017)."""
    return -(margin(logits, classes) + KAPPA).relu()


def divergence(logits: Tensor, probabilities: Tensor, _smoothing: float = 0.0) -> Tensor:
    """KL(p(x) || p(x_adv)) of each image, (N,) (TRADES, Zhang et al. 2019). At x itself it has no gradient."""
    return F.kl_div(logits.log_softmax(1), probabilities, reduction="none").sum(1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """z_y - max_{j != y} z_j of each image, (N,): below 0 where the label is not the prediction."""
    others = logits.scatter(1, labels[:, None], -float("inf"))
    return logits.gather(1, labels[:, None])[:, 0] - others.amax(1)


def attention_deviation(areas: Tensor, maps: Tensor) -> Tensor:
    """||Att(x) - g(x_adv)||_1 a cell, of each image, (N,) (A3, eq. 11 of the paper).

    The paper does not say at what size the maps are compared, and its sum grows with that size. The mean over the cells
    lies in [0, 1], so that sigma means the same for every network; the sum is sigma times the number of cells.

    Args:
        areas: Binary area of the clean map, (N, h, w); all False where there is none, and then the value is 0.
        maps: Current maps scaled to [0, 1], (N, h, w).
    """
    there = areas.flatten(1).any(1)
    return (areas.to(maps.dtype) - maps).abs().mean((1, 2)) * there


def true_label(_clean_logits: Callable[[], Tensor], labels: Tensor) -> Tensor:
    """The label."""
    return labels


def least_likely(clean_logits: Callable[[], Tensor], _labels: Tensor) -> Tensor:
    """y_LL: the class of lowest confidence on the clean image, over all classes (eq. 4 of the paper)."""
    return clean_logits().argmin(1)


def clean_probabilities(clean_logits: Callable[[], Tensor], _labels: Tensor) -> Tensor:
    """p(x): the clean image's probabilities."""
    return clean_logits().softmax(1)
