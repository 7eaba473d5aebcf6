"""Views of a batch: what a classifier predicts and where its map lies, as arrays."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from attnlab.attacks import Attack
from attnlab.attacks.pgd import attack_context, perturb, pgd_steps, start_of
from attnlab.attention.gradcam import logits_and_maps
from attnlab.data.resizing import Batch
from attnlab.failures import naming
from attnlab.hooks import frozen_eval
from attnlab.models import Classifier
from attnlab.pipelines.checks import check_labels
from attnlab.seeding import seed_of
from attnlab.views import MapSeries, MapView


def map_views(classifier: Classifier, images: Tensor, labels: Tensor) -> list[MapView]:
    """What a classifier makes of images, maps of the labels included.

    Args:
        classifier: Any with an attention layer; it is given back as it was.
        images: Pixels in [0, 1], (N, C, H, W).
        labels: (N,).
    """
    with frozen_eval(classifier):
        logits, maps = logits_and_maps(classifier, images, labels, detach_input=True)
    probabilities = logits.detach().softmax(1)
    top, predictions = probabilities.max(1)
    sure = probabilities.gather(1, labels[:, None])[:, 0]
    pixels = images.detach().permute(0, 2, 3, 1).float().cpu().numpy()
    rows = zip(pixels, maps.double().cpu().numpy(), predictions.tolist(), sure.tolist(), top.tolist(), strict=True)
    return [MapView(*row) for row in rows]


def compare(classifiers: Sequence[Classifier], batch: Batch, attack: Attack, seed: int) -> list[MapSeries]:
    """Views of a batch and of each classifier's own adversarial counterparts of it.

    Args:
        classifiers: Of one input size.
        batch: At that size.
        attack: Makes the adversarial images.
        seed: Of random starts, together with the image's name.
    """
    clean, adversarial = [], []
    for classifier in classifiers:
        images, labels, seeds = on_device(classifier, batch, seed)
        with naming("images", batch.image_ids):
            clean.append(map_views(classifier, images, labels))
            attacked = perturb(classifier, images, labels, attack, seeds=seeds)
            adversarial.append(map_views(classifier, attacked, labels))
    return as_series(batch, clean, adversarial)


def attack_steps(classifier: Classifier, batch: Batch, attack: Attack, seed: int) -> list[MapSeries]:
    """Views of a batch, and of the points of an attack after each of its steps (Figs. 2 and 12 of the paper).

    Arguments as for `compare`.
    """
    images, labels, seeds = on_device(classifier, batch, seed)
    with naming("images", batch.image_ids), frozen_eval(classifier):
        aim = attack_context(classifier, images, labels, attack)
        start = start_of(images, attack, seeds)
        points = [iterate.images for iterate in pgd_steps(classifier, images, start, aim, attack)]
    return as_series(
        batch, [map_views(classifier, images, labels)], [map_views(classifier, one, labels) for one in points]
    )


def on_device(classifier: Classifier, batch: Batch, seed: int) -> tuple[Tensor, Tensor, list[int]]:
    """A batch's pixels in [0, 1], (N, C, H, W), its labels, (N,), and each image's seed.

    Raises:
        UserError: If the classifier does not know a label.
    """
    check_labels(classifier, batch)
    seeds = [seed_of(seed, image_id) for image_id in batch.image_ids]
    return *batch.tensors(classifier.device), seeds


def as_series(batch: Batch, clean: list[list[MapView]], adversarial: list[list[MapView]]) -> list[MapSeries]:
    """A series for each image of a batch, from views of the whole batch."""
    return [
        MapSeries(
            image_id,
            int(batch.labels[place]),
            np.asarray(batch.boxes[place], np.float64).reshape(-1, 4),
            [one[place] for one in clean],
            [one[place] for one in adversarial],
        )
        for place, image_id in enumerate(batch.image_ids)
    ]
