"""Attention records: what a classifier looks at, on each image and on its adversarial counterpart.

The clean forward pass gives prediction, confidence, map and the attack's gradient; one input gradient and one forward
pass per eps do the rest: three forward-equivalents an image for one eps.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnlab.attacks import ATTACKS
from attnlab.attacks.pgd import Attack, clean_pass, perturb
from attnlab.attention.area import iou_with_mask, shared_cells
from attnlab.attention.gradcam import map_from, observed
from attnlab.data.base import ImageSet
from attnlab.data.geometry import GEOMETRIES, Batch, Prepared, load_batches
from attnlab.errors import UserError, expect_one_of
from attnlab.hooks import borrowed
from attnlab.models.classifier import Classifier
from attnlab.pipelines.manifest import surroundings
from attnlab.records import Run, now, open_run

#: images a part of the records covers: what a killed run has to do again, at most
PART = 256

TARGETS = ("true", "predicted")

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Settings:
    """What is computed for each image.

    Attributes:
        attack: The attack; its own eps is replaced by each of `budgets`.
        budgets: L-infinity budgets eps, pixels in [0, 1]; all share the clean pass.
        target: Class the maps explain: the `true` label, or each image's own `predicted` class.
        geometry: How images reach the model's size, a name in GEOMETRIES.
    """

    attack: Attack = field(default_factory=lambda: ATTACKS["stepll"])
    budgets: tuple[float, ...] = (16 / 255,)
    target: str = "true"
    geometry: str = "squash"

    def __post_init__(self) -> None:
        """Check every value once."""
        expect_one_of(self.target, TARGETS, "--target")
        expect_one_of(self.geometry, GEOMETRIES, "--geometry")
        if not self.budgets or len(set(self.budgets)) < len(self.budgets):
            raise UserError(f"expected one or more eps, each once, got {', '.join(map(str, self.budgets)) or 'none'}")
        for eps in self.budgets:
            replace(self.attack, eps=eps)


def analyze(
    classifier: Classifier,
    images: ImageSet,
    out: Path,
    settings: Settings,
    *,
    description: dict[str, Any] | None = None,
    batch_size: int = 8,
    workers: int = 0,
    limit: int | None = None,
    progress: Progress = lambda count: None,
) -> Run:
    """Write a record of every image to a run folder, or go on with the parts that are missing there.

    Args:
        classifier: Placed on its device; it is given back as it was.
        images: Any image set.
        out: Run folder.
        settings: What is computed.
        description: What else the manifest should say under "options", such as the names the user gave.
        batch_size: Images a pass; it changes no record beyond the last float digits.
        workers: Processes that read and resize images; 0 reads in this one.
        limit: Only the first so many images.
        progress: Called with the number of images each time some are done.

    Returns:
        The finished run.

    Raises:
        UserError: If the folder holds another run, model and data do not fit, or the model gives NaN.
    """
    _check_fit(classifier, images)
    count = min(len(images.image_ids), limit or len(images.image_ids))
    device = classifier.device
    run = open_run(
        out,
        {
            "kind": "analyze",
            "options": {
                **(description or {}),
                "attack": {key: value for key, value in asdict(settings.attack).items() if key != "eps"},
                "eps": list(settings.budgets),
                "target": settings.target,
                "geometry": settings.geometry,
                "images": count,
            },
            "data": {
                "name": images.name,
                "has_boxes": images.has_boxes,
                "classes": list(images.classes),
                "sha256": images.fingerprint(),
            },
            "model": classifier.describe(),
            "batch_size": batch_size,
            "workers": workers,
            **surroundings(device),
        },
    )
    start = perf_counter()
    parts = [range(first, min(first + PART, count)) for first in range(0, count, PART)]
    missing = {number: part for number, part in enumerate(parts) if not run.part(number).exists()}
    progress(count - sum(map(len, missing.values())))
    prepared = Prepared(images, classifier.input_size, settings.geometry)
    batches = {
        number: [list(part[at : at + batch_size]) for at in range(0, len(part), batch_size)]
        for number, part in missing.items()
    }
    loaded = load_batches(prepared, [batch for part in batches.values() for batch in part], workers)
    for number, part_batches in batches.items():
        rows: dict[int, dict[str, Any]] = {}
        for _ in part_batches:
            batch = next(loaded)
            rows.update(_rows(classifier, batch, settings))
            progress(len(batch.positions) + len(batch.skipped))
        run.write_part(number, [rows[index] for index in sorted(rows)])
    if run.manifest["finished"] is None:
        run.write_manifest({**run.manifest, "finished": now(), "seconds": round(perf_counter() - start, 1)})
    run.write_skipped()
    return run


class Observation(NamedTuple):
    """What a classifier makes of a batch.

    Attributes:
        logits: (N, K).
        maps: Signed, (N, h, w).
    """

    logits: Tensor
    maps: Tensor


def observe(
    classifier: Classifier, images: Tensor, labels: Tensor, settings: Settings
) -> tuple[Observation, list[Observation]]:
    """See the clean images, and their adversarial counterparts of every eps.

    Args:
        classifier: Any; it is given back as it was.
        images: Pixels in [0, 1], (N, C, H, W).
        labels: (N,).
        settings: What is computed.

    Returns:
        What is seen of the clean images; what is seen of the adversarial ones, in the order of `settings.budgets`.
    """
    images = images.detach().requires_grad_()
    with borrowed(classifier), torch.enable_grad(), observed(classifier) as activations:
        logits = classifier(images)
        maps = map_from(classifier, logits, activations.pop(), _explained(logits, labels, settings))
        clean = clean_pass(logits, images, labels, settings.attack)
    adversarial = []
    for eps in settings.budgets:
        attacked = perturb(classifier, images, labels, replace(settings.attack, eps=eps), clean)
        with borrowed(classifier), torch.enable_grad(), observed(classifier, cut=True) as activations:
            logits = classifier(attacked)
            classes = _explained(logits, labels, settings)
            adversarial.append(Observation(logits.detach(), map_from(classifier, logits, activations.pop(), classes)))
    return Observation(clean.logits, maps), adversarial


def _explained(logits: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    return labels if settings.target == "true" else logits.argmax(1)


def _rows(classifier: Classifier, batch: Batch, settings: Settings) -> dict[int, dict[str, Any]]:
    """Records of a batch by the images' index in the data set."""
    rows: dict[int, dict[str, Any]] = {
        index: {"image_id": image_id, "skipped": reason} for index, image_id, reason in batch.skipped
    }
    if not batch.positions:
        return rows
    _check_labels(classifier, batch)
    device = classifier.device
    images = batch.pixels.to(device, non_blocking=True).float() / 255
    labels, masks = batch.labels.to(device), batch.masks.to(device)
    clean, adversarial = observe(classifier, images, labels, settings)
    for seen in (clean, *adversarial):
        _check_finite(seen.logits, batch)
    columns = _columns(clean, labels, masks)
    attacked = [
        _columns(seen, labels, masks) | {"shared_cells": _lists(shared_cells(clean.maps, seen.maps))}
        for seen in adversarial
    ]
    for place, index in enumerate(batch.positions):
        rows[index] = {
            "image_id": batch.image_ids[place],
            "label": int(batch.labels[place]),
            "boxes": batch.boxes[place],
            "dropped_boxes": batch.dropped_boxes[place],
            "box_share": _or_none(batch.box_shares[place]),
            **{name: values[place] for name, values in columns.items()},
            "adversarial": [{name: values[place] for name, values in one.items()} for one in attacked],
        }
    return rows


def _columns(seen: Observation, labels: Tensor, masks: Tensor) -> dict[str, list[Any]]:
    """What the records tell of clean and adversarial images alike, a value per image."""
    confidence = seen.logits.softmax(1).gather(1, labels[:, None])[:, 0]
    return {
        "prediction": seen.logits.argmax(1).tolist(),
        "confidence": confidence.tolist(),
        "iou_att_gt": [_or_none(value) for value in iou_with_mask(seen.maps, masks).tolist()],
        "map": seen.maps.flatten(1).cpu().numpy().tolist(),
    }


def _lists(counts: Tensor) -> list[list[int] | None]:
    return [None if row[0] < 0 else row for row in counts.tolist()]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _check_fit(classifier: Classifier, images: ImageSet) -> None:
    if images.channels != classifier.channels:
        raise UserError(
            f"expected a model of {images.channels} colour channels for {images.name}, got one of "
            f"{classifier.channels}; name another with --model"
        )
    if images.classes and len(images.classes) != classifier.classes:
        raise UserError(
            f"expected a model of {len(images.classes)} classes for {images.name}, got one of {classifier.classes}; "
            "name another with --model"
        )


def _check_labels(classifier: Classifier, batch: Batch) -> None:
    for image_id, label in zip(batch.image_ids, batch.labels.tolist(), strict=True):
        if not 0 <= label < classifier.classes:
            raise UserError(f"expected labels from 0 to {classifier.classes - 1}, got {label} for image {image_id}")


def _check_finite(logits: Tensor, batch: Batch) -> None:
    finite = logits.isfinite().all(1).tolist()
    if not all(finite):
        raise UserError(f"the model gave logits that are not finite for image {batch.image_ids[finite.index(False)]}")
