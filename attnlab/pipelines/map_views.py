"""Views of a batch: what a classifier predicts and where its map lies, as arrays."""

from collections.abc import Sequence

import numpy as np

from attnlab.arrays import Images, Labels
from attnlab.attacks import Attack
from attnlab.attacks.context import attack_context, start_of
from attnlab.attacks.pgd import perturb, pgd_steps
from attnlab.attention.gradcam import logits_and_maps
from attnlab.data.base import UNLABELLED
from attnlab.data.resizing import Batch
from attnlab.failures import naming
from attnlab.hooks import frozen_eval
from attnlab.models import Classifier
from attnlab.pipelines.checks import checked_inputs
from attnlab.views import MapSeries, MapView


def map_views(classifier: Classifier, images: Images, labels: Labels) -> list[MapView]:
    """Predictions and maps of images by a classifier with an attention layer, maps of the labels included."""
    with frozen_eval(classifier):
        logits, maps = logits_and_maps(classifier, images, labels, detach_input=True)
    probabilities = logits.detach().softmax(1)
    top, predictions = probabilities.max(1)
    sure = probabilities.gather(1, labels[:, None])[:, 0]
    pixels = images.detach().permute(0, 2, 3, 1).float().cpu().numpy()
    rows = zip(pixels, maps.double().cpu().numpy(), predictions.tolist(), sure.tolist(), top.tolist(), strict=True)
    return [MapView(*row) for row in rows]


def compare(classifiers: Sequence[Classifier], batch: Batch, attack: Attack, seed: int) -> list[MapSeries]:
    """Views of a batch and of each classifier's own adversarial counterparts of it; all are of the batch's size.

    Random starts are of the seed and the image's name.
    """
    clean, adversarial = [], []
    for classifier in classifiers:
        images, labels, seeds = checked_inputs(classifier, batch, seed)
        with naming("images", batch.image_ids):
            clean.append(map_views(classifier, images, labels))
            attacked = perturb(classifier, images, labels, attack, seeds=seeds)
            adversarial.append(map_views(classifier, attacked, labels))
    return _as_series(batch, clean, adversarial)


def attack_steps(classifier: Classifier, batch: Batch, attack: Attack, seed: int) -> list[MapSeries]:
    """Views of a batch, and of the points of an attack after each of its steps (Figs. 2 and 12 of the paper).

    Arguments as for `compare`.
    """
    images, labels, seeds = checked_inputs(classifier, batch, seed)
    with naming("images", batch.image_ids), frozen_eval(classifier):
        context = attack_context(classifier, images, labels, attack)
        start = start_of(images, attack, seeds, region=context.region)
        points = [iterate.images for iterate in pgd_steps(classifier, start, context, attack)]
    clean, *adversarial = (map_views(classifier, one, labels) for one in (images, *points))
    return _as_series(batch, [clean], adversarial)


def _as_series(batch: Batch, clean: list[list[MapView]], adversarial: list[list[MapView]]) -> list[MapSeries]:
    """A series for each image of a batch, from views of the whole batch."""
    return [
        MapSeries(
            image_id,
            clean[0][index].prediction if batch.labels[index] == UNLABELLED else int(batch.labels[index]),
            np.asarray([] if batch.masked[index] else batch.boxes[index], np.float64).reshape(-1, 4),
            [views[index] for views in clean],
            [views[index] for views in adversarial],
            batch.masks[index].numpy() if batch.masked[index] else None,
        )
        for index, image_id in enumerate(batch.image_ids)
    ]
