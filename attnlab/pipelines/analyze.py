"""Attention records: what a classifier looks at, on each image and on its adversarial counterpart."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import Tensor

from attnlab.attention.area import iou_with_mask, shared_cells
from attnlab.data.base import ImageSet
from attnlab.data.geometry import Batch, Prepared, load_batches
from attnlab.failures import keeping, kept_in, naming
from attnlab.manifests import recorded
from attnlab.models.classifier import Classifier
from attnlab.pipelines.expect import expect_finite, expect_fit, expect_labels, expect_passes, expect_usable
from attnlab.pipelines.explain import Explainer, Request
from attnlab.pipelines.manifest import describe_data, surroundings
from attnlab.pipelines.masking import first_look, is_checked, write_found
from attnlab.pipelines.observe import Observation, observe
from attnlab.pipelines.parts import Progress, Rows, work_left
from attnlab.pipelines.settings import Settings
from attnlab.records import CHECKS, skipped_images
from attnlab.runs import Run, opened
from attnlab.schema import ATTENTION
from attnlab.seeds import seed_of
from attnlab.superpixels import segmenting


def analyze(
    classifier: Classifier,
    images: ImageSet,
    out: Path,
    settings: Settings,
    *,
    description: dict[str, Any] | None = None,
    notes: dict[str, Any] | None = None,
    batch_size: int | None = None,
    lime_batch_size: int | None = None,
    workers: int = 0,
    positions: range | list[int] | None = None,
    progress: Progress = lambda count: None,
) -> Run:
    """Write a record of every image to a run folder, or go on with what is missing there.

    Args:
        classifier: Placed on its device; it is given back as it was.
        images: Any image set.
        out: Run folder.
        settings: What is computed.
        description: What else the manifest should say under "options", such as the names the user gave.
        notes: What else it should say that decides no record, such as where the images lie.
        batch_size: Images a pass; by default as many as the run was begun with, or 8. It decides the last digits of
            every sum and so signs of tiny gradients, which an attack's steps follow: a run has one (docs/protocol.md).
        lime_batch_size: LIME samples a pass; by default as many as the run was begun with, or 32.
        workers: Processes that read images and cut superpixels; 0 does it in this one.
        positions: Indices of the images to use, rising; by default all.
        progress: Called with the number of images each time some are done.

    Returns:
        The finished run.

    Raises:
        UserError: If the folder holds another run or another process works in it, model and data do not fit, the model
            fails, gives NaN or has no gradient, a worker process is lost, or no image can be used.
    """
    expect_fit(classifier, images)
    used = list(range(len(images.image_ids)) if positions is None else positions)
    batch_size = batch_size or recorded(out, "batch_size") or 8
    lime_batch_size = lime_batch_size or recorded(out, "lime_batch_size") or 32
    expect_passes(batch_size, workers, lime_batch_size)
    how = {"batch_size": batch_size, "workers": workers}
    how |= {"lime_batch_size": lime_batch_size} if "lime" in settings.methods else {}
    manifest = _manifest(classifier, images, settings, used, description or {}) | how | (notes or {})
    with opened(out, manifest, ATTENTION) as run:
        start = perf_counter()
        work = work_left(run, images.image_ids, used)
        if work.missing:
            run.begin_session(manifest)
        if not is_checked(out) and (work.missing or (out / CHECKS).exists()):  # what is damaged is made again
            name = (description or {}).get("model", "model")
            with keeping(kept_in(out)):
                write_found(out, first_look({name: classifier}, images, used, settings.geometry))
        progress(work.done)
        prepared = Prepared(images, classifier.input_size, settings.geometry)
        explaining = _explaining(classifier, settings, lime_batch_size, workers)
        with keeping(kept_in(out)), explaining as explainer:
            batches = load_batches(prepared, work.batches(batch_size), workers)
            work.complete(_stream(classifier, batches, settings, images.has_boxes, explainer, work.finished), progress)
        run.finish(perf_counter() - start)
        run.write_skipped(skipped_images(run))
        expect_usable(run)
    return run


@contextmanager
def _explaining(
    classifier: Classifier, settings: Settings, batch_size: int, workers: int
) -> Iterator[Explainer | None]:
    """Worker processes and what else LIME needs, if it is asked for."""
    if "lime" not in settings.methods:
        yield None
        return
    with segmenting(workers) as cut:
        yield Explainer(classifier, settings, cut, batch_size)


def _stream(
    classifier: Classifier,
    batches: Iterator[Batch],
    settings: Settings,
    has_boxes: bool,
    explainer: Explainer | None,
    done: set[int],
) -> Iterator[Rows]:
    """Records of the images that are not done yet, as soon as they are complete.

    A batch is observed, and its superpixels are on their way, before the batch ahead of it is explained.
    """
    ahead: Iterator[Rows] = iter(())
    for batch in batches:
        rows, clean, adversarial = _rows(classifier, batch, settings)
        if explainer is None:
            yield rows
            continue
        # the tables use these alone
        explained = [
            place
            for place, position in enumerate(batch.positions)
            if position not in done
            and rows[position]["prediction"] == rows[position]["label"]
            and (batch.box_shares[place] > 0 or not has_boxes)
        ]
        requests = explainer.order(clean, adversarial, batch.labels, batch.image_ids, explained) if clean else []
        yield from ahead
        ahead = _complete(explainer, requests, batch, rows, done)
    yield from ahead


def _complete(
    explainer: Explainer, requests: list[Request], batch: Batch, rows: Rows, done: set[int]
) -> Iterator[Rows]:
    """Put LIME explanations into a batch's records; records that get none come first."""
    waiting = {batch.positions[request.place] for request in requests}
    yield {position: row for position, row in rows.items() if position not in waiting | done}
    for made in explainer.make(requests, batch.image_ids):
        for request, explanation in made:
            row = rows[batch.positions[request.place]]
            (row if request.eps is None else row["adversarial"][request.eps])[request.name] = explanation
        ready = {batch.positions[request.place] for request, _ in made}
        yield {position: rows[position] for position in sorted(ready)}


def _rows(
    classifier: Classifier, batch: Batch, settings: Settings
) -> tuple[Rows, Observation | None, list[Observation]]:
    """Records of a batch without LIME, and what was seen of it."""
    rows: Rows = {index: {"image_id": image_id, "skipped": reason} for index, image_id, reason in batch.skipped}
    if not batch.positions:
        return rows, None, []
    expect_labels(classifier, batch)
    images, labels = batch.tensors(classifier.device)
    masks = batch.masks.to(classifier.device)
    seeds = [seed_of(settings.seed, image_id) for image_id in batch.image_ids]
    with naming("images", batch.image_ids):
        clean, adversarial = observe(classifier, images, labels, settings, seeds)
    for seen in (clean, *adversarial):
        expect_finite(seen.logits, batch)
    columns = _columns(clean, labels, masks)
    attacked = [
        _columns(seen, labels, masks) | {"shared_cells": _shared_cells(clean.maps, seen.maps)} for seen in adversarial
    ]
    for place, position in enumerate(batch.positions):
        rows[position] = {
            "image_id": batch.image_ids[place],
            "label": int(batch.labels[place]),
            "boxes": batch.boxes[place],
            "dropped_boxes": batch.dropped_boxes[place],
            "box_share": _or_none(batch.box_shares[place]),
            **{name: values[place] for name, values in columns.items() if values},
            "adversarial": [{name: values[place] for name, values in one.items() if values} for one in attacked],
        }
    return rows, clean, adversarial


def _columns(seen: Observation, labels: Tensor, masks: Tensor) -> dict[str, list[Any]]:
    """What the records tell of clean and adversarial images alike, a value per image; empty without maps."""
    confidence = seen.logits.softmax(1).gather(1, labels[:, None])[:, 0]
    maps = seen.maps
    return {
        "prediction": seen.logits.argmax(1).tolist(),
        "confidence": confidence.tolist(),
        "iou_att_gt": [] if maps is None else [_or_none(value) for value in iou_with_mask(maps, masks).tolist()],
        "map": [] if maps is None else maps.flatten(1).cpu().numpy().tolist(),
    }


def _shared_cells(clean: Tensor | None, adversarial: Tensor | None) -> list[list[int] | None]:
    if clean is None or adversarial is None:
        return []
    return [None if row[0] < 0 else row for row in shared_cells(clean, adversarial).tolist()]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _manifest(
    classifier: Classifier,
    images: ImageSet,
    settings: Settings,
    used: list[int],
    description: dict[str, Any],
) -> dict[str, Any]:
    return {
        "kind": "analyze",
        "options": {**description, **settings.describe(), "images": len(used)},
        "data": describe_data(images, used),
        "model": classifier.describe(),
        "features": list(settings.lime.features),
        **surroundings(classifier.device),
    }
