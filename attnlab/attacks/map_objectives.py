"""Attacks on maps: what is seen of a point, what is climbed there, and which point an image is left with.

One of prediction and map is held while the other moves. An objective climbs one or the other of them, by where the
point is (switching subgradients, Polyak 1967), so that no weight between the two is chosen.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.arrays import Images, Labels, Logits, PerImage
from attnlab.attacks.objectives import margin


class MapPoint(NamedTuple):
    """What an attack on maps sees of a point of each image."""

    logits: Logits
    classes: Labels  # predictions of the clean images, whose maps are looked at
    distances: PerImage  # of the map from the clean one
    shown: PerImage  # whether the distance is one of two maps that show something, bool

    @property
    def margins(self) -> PerImage:
        """Logit of the clean prediction less the highest of the others, (N,)."""
        return margin(self.logits, self.classes)

    def holds(self, keep: float) -> Tensor:
        """Where the prediction is the clean one's by at least that margin, (N,), bool."""
        return (self.logits.argmax(1) == self.classes) & (self.margins >= keep)


def move_map(point: MapPoint, keep: float) -> PerImage:
    """The map's distance where the prediction is held, elsewhere the margin that brings it back, (N,)."""
    return torch.where(point.holds(keep), point.distances, point.margins)


def moved(point: MapPoint, keep: float) -> PerImage:
    """The map's distance where the prediction is held, (N,), float64; -inf elsewhere."""
    return point.distances.double().where(point.holds(keep), -torch.inf)


def keep_map(point: MapPoint, _keep: float) -> PerImage:
    """Minus the margin while the prediction is the clean one, then minus the map's distance, (N,)."""
    return -torch.where(point.holds(0), point.margins, point.distances.abs())  # `top-k` may be below 0


def kept(point: MapPoint, _keep: float) -> PerImage:
    """Higher the nearer the map of a changed prediction is, (N,), float64; below all those the lower the margin is.

    0 where a map shows nothing, below those that show something.
    """
    nearness = (-point.distances.double().abs()).exp() * point.shown
    return torch.where(point.holds(0), -point.margins.double().clamp(min=0), nearness)


class Best(NamedTuple):
    """The best point of each image so far."""

    images: Images
    scores: PerImage  # of `MapObjective.score`

    def or_better(self, images: Images, scores: PerImage) -> "Best":
        """The same, or these points where they are better; of equal ones the earlier."""
        better = scores > self.scores
        return Best(
            torch.where(better[:, None, None, None], images, self.images), torch.where(better, scores, self.scores)
        )
