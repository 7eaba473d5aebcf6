"""What an attack climbs: a value per image, (N,), of the logits and the class that the attack is about."""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Objective(NamedTuple):
    """An objective.

    Attributes:
        value: (logits (N, K), classes (N,), label smoothing) -> value per image, (N,).
        classes: (clean logits (N, K), labels (N,)) -> class the attack is about, (N,), fixed from the start.
    """

    value: Callable[[Tensor, Tensor, float], Tensor]
    classes: Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, classes: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each image, (N,): away from the class (Goodfellow et al. 2015)."""
    return F.cross_entropy(logits, classes, reduction="none", label_smoothing=smoothing)


def towards(logits: Tensor, classes: Tensor, smoothing: float = 0.0) -> Tensor:
    """Negative cross-entropy of each image, (N,): towards the class (Kurakin et al. 2017; eq. 4 of the paper)."""
    return -cross_entropy(logits, classes, smoothing)


def true_label(_clean_logits: Tensor, labels: Tensor) -> Tensor:
    """The label."""
    return labels


def least_likely(clean_logits: Tensor, _labels: Tensor) -> Tensor:
    """y_LL: the class of lowest confidence on the clean image, over all classes (eq. 4 of the paper)."""
    return clean_logits.argmin(1)


OBJECTIVES: dict[str, Objective] = {
    "cross-entropy": Objective(cross_entropy, true_label),
    "least-likely": Objective(towards, least_likely),
}
