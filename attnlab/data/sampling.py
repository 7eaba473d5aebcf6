"""Which images of a set to use when not all."""

from collections import defaultdict

import numpy as np

from attnlab.data.base import UNLABELLED, ImageSet
from attnlab.errors import UserError
from attnlab.seeding import check_seed


def choose(images: ImageSet, limit: int | None, *, stratify: bool = False, seed: int = 0) -> list[int]:
    """Indices of the images to use, rising: at most `limit`, from the beginning.

    With `stratify` they are taken from all classes in turn, drawn by the seed.
    """
    total = len(images.image_ids)
    if not total:
        raise UserError(f"expected images, got none in {images.name}")
    check_seed(seed)
    if limit is not None and limit < 1:
        raise UserError(f"expected --limit of at least 1, got {limit}")
    count = total if limit is None else min(total, limit)
    return sorted(in_turn(images, seed)[:count]) if stratify else list(range(count))


def in_turn(images: ImageSet, seed: int) -> list[int]:
    """Indices of all images with a label, of each class in turn, drawn by the seed."""
    total = len(images.image_ids)
    of_class: dict[int, list[int]] = defaultdict(list)
    draw = np.random.default_rng(seed)
    for index in np.argsort(draw.random(total), kind="stable").tolist():
        label = images.label_of(index)
        if label == UNLABELLED:
            raise UserError(f"expected images with labels for --stratify, got {images.name}, which has none")
        if label is not None:
            of_class[label].append(index)
    # the first of every class, then the second of every class, ...; classes in a drawn order
    classes = sorted(of_class)
    order = [classes[index] for index in np.argsort(draw.random(len(classes)), kind="stable").tolist()]
    turns = max(map(len, of_class.values()), default=0)
    return [of_class[label][turn] for turn in range(turns) for label in order if turn < len(of_class[label])]
