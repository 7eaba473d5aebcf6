"""Results of attacks on maps: predictions, and how far the maps of the victim have moved."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from attnlab.arrays import Areas, Images, Labels, Logits, Maps, PerImage
from attnlab.attacks import DISTANCES, Attack
from attnlab.attacks.context import maps_under_attack
from attnlab.attacks.map_distances import both_show, shows
from attnlab.attacks.pgd import best_points
from attnlab.attacks.trajectory import AttackResult, attack_result
from attnlab.attention.map_metrics import topk_intersection
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier


def gaze_results(
    victim: Classifier,
    images: Images,
    labels: Labels,
    attack: Attack,
    readings: Collection[int],
    clean_logits: Logits,
    seeds: Sequence[int],
    *,
    source: Classifier | None = None,
    truth: Areas | None = None,
) -> dict[int, AttackResult]:
    """Run an attack on maps once, on the `source` or else the victim, and read it at several numbers of steps.

    The maps are the victim's own, of its clean predictions; `clean_logits` are the victim's too, `truth` is as of
    `perturb`. An image counts as
    lost after the steps of a reading if the point it is left with is misclassified, after 0 if the clean image is.
    """
    made_on = victim if source is None else source
    points = best_points(made_on, images, labels, attack, readings, seeds=seeds, truth=truth)
    classes, results = clean_logits.argmax(1), {}
    with frozen_eval(victim):
        _, clean = maps_under_attack(victim, images, classes, attack)
        for reading, attacked in points.items():
            logits, maps = maps_under_attack(victim, attacked, classes, attack)
            steps = torch.where(logits.argmax(1) == labels, -1, reading)
            result = attack_result(logits, labels, torch.where(classes == labels, steps, 0))
            distances, shared = compared(clean, maps, attack)
            results[reading] = result._replace(distances=distances, shared_cells=shared)
    return results


def compared(clean: Maps, maps: Maps, attack: Attack) -> tuple[PerImage, Tensor]:
    """Distance that the attack is about, (N,), and shared cells as of `topk_intersection`, (N, h * w).

    A clean map that shows nothing cannot move, however weak the defence: its image has a distance of NaN and -1 shared
    cells. Where the attacked map shows nothing, the distance is NaN.
    """
    assert attack.distance is not None
    distances, shared = DISTANCES[attack.distance](clean, maps), topk_intersection(clean, maps)
    distances = distances.masked_fill(~both_show(clean, maps, attack.distance), torch.nan)
    return distances, shared.masked_fill(~shows(clean, attack.distance)[:, None], -1)
