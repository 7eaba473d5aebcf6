"""Records of batches: what a classifier looks at, on each image and on its adversarial counterpart."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from attnlab.attacks import Attack
from attnlab.attention.map_metrics import map_mask_iou, topk_intersection
from attnlab.config import AnalyzeConfig
from attnlab.data.resizing import Batch
from attnlab.failures import naming
from attnlab.models.classifier import Classifier
from attnlab.pipelines.checks import check_finite, check_labels
from attnlab.pipelines.fused_pass import BatchOutput, fused_pass
from attnlab.pipelines.lime_stage import LimeStage, LimeTask
from attnlab.pipelines.pending_parts import Rows
from attnlab.seeding import seed_of


def attention_records(
    classifier: Classifier,
    batches: Iterator[Batch],
    config: AnalyzeConfig,
    attacks: Sequence[Attack],
    has_boxes: bool,
    explainer: LimeStage | None,
    done: set[int],
) -> Iterator[Rows]:
    """Records of the images that are not done yet, as soon as they are complete.

    A batch is observed, and its superpixels are on their way, before the batch ahead of it is explained.
    """
    ahead: Iterator[Rows] = iter(())
    for batch in batches:
        rows, clean, adversarial = _rows(classifier, batch, config, attacks)
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
    explainer: LimeStage, requests: list[LimeTask], batch: Batch, rows: Rows, done: set[int]
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
    classifier: Classifier, batch: Batch, config: AnalyzeConfig, attacks: Sequence[Attack]
) -> tuple[Rows, BatchOutput | None, list[BatchOutput]]:
    """Records of a batch without LIME, and what was seen of it."""
    rows: Rows = {index: {"image_id": image_id, "skipped": reason} for index, image_id, reason in batch.skipped}
    if not batch.positions:
        return rows, None, []
    check_labels(classifier, batch)
    images, labels = batch.tensors(classifier.device)
    masks = batch.masks.to(classifier.device)
    seeds = [seed_of(config.run.seed, image_id) for image_id in batch.image_ids]
    method = config.map_method
    target = config.target_of(method) if method else ""
    with naming("images", batch.image_ids):
        clean, adversarial = fused_pass(classifier, images, labels, attacks, method, target, seeds)
    for seen in (clean, *adversarial):
        check_finite(seen.logits, batch)
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


def _columns(seen: BatchOutput, labels: Tensor, masks: Tensor) -> dict[str, list[Any]]:
    """What the records tell of clean and adversarial images alike, a value per image; empty without maps."""
    confidence = seen.logits.softmax(1).gather(1, labels[:, None])[:, 0]
    maps = seen.maps
    return {
        "prediction": seen.logits.argmax(1).tolist(),
        "confidence": confidence.tolist(),
        "iou_att_gt": [] if maps is None else [_or_none(value) for value in map_mask_iou(maps, masks).tolist()],
        "map": [] if maps is None else maps.flatten(1).cpu().numpy().tolist(),
    }


def _shared_cells(clean: Tensor | None, adversarial: Tensor | None) -> list[list[int] | None]:
    if clean is None or adversarial is None:
        return []
    return [None if row[0] < 0 else row for row in topk_intersection(clean, adversarial).tolist()]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
