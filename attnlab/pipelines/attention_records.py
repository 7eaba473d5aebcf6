"""Records of batches: what a classifier looks at, on each image and on its adversarial counterpart."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from attnlab.arrays import Labels, Maps
from attnlab.attacks import Attack
from attnlab.attention.map_metrics import map_mask_iou, topk_intersection
from attnlab.boxes import pack
from attnlab.config import AnalyzeConfig
from attnlab.data.resizing import Batch
from attnlab.failures import naming
from attnlab.models.classifier import Classifier
from attnlab.pipelines.checks import check_finite, checked_inputs
from attnlab.pipelines.fused_pass import BatchOutput, fused_pass
from attnlab.pipelines.lime_stage import LimeStage, LimeTask
from attnlab.pipelines.pending_parts import Rows, skipped_rows


def attention_records(
    classifier: Classifier,
    batches: Iterator[Batch],
    config: AnalyzeConfig,
    attacks: Sequence[Attack],
    has_boxes: bool,
    lime: LimeStage | None,
    done: set[int],
) -> Iterator[Rows]:
    """Records of the images that are not done yet, as soon as they are complete.

    A batch is observed, and its superpixels are on their way, before the batch ahead of it is explained.
    """
    ahead: Iterator[Rows] = iter(())
    for batch in batches:
        rows, clean, adversarial = _rows(classifier, batch, config, attacks)
        if lime is None:
            yield rows
            continue
        # the tables use these alone
        explained = [
            index
            for index, position in enumerate(batch.positions)
            if position not in done
            and rows[position]["prediction"] == rows[position]["label"]
            and (batch.box_shares[index] > 0 or not has_boxes)
        ]
        tasks = lime.order(clean, adversarial, batch, explained) if clean else []
        yield from ahead
        ahead = _complete(lime, tasks, batch, rows, done)
    yield from ahead


def _complete(lime: LimeStage, tasks: list[LimeTask], batch: Batch, rows: Rows, done: set[int]) -> Iterator[Rows]:
    """Put LIME explanations into a batch's records; records that get none come first."""
    waiting = {batch.positions[task.number] for task in tasks}
    yield {position: row for position, row in rows.items() if position not in waiting | done}
    for explanations in lime.make(tasks):
        for task, explanation in explanations:
            row = rows[batch.positions[task.number]]
            (row if task.eps is None else row["adversarial"][task.eps])[task.name] = explanation
        ready = {batch.positions[task.number] for task, _ in explanations}
        yield {position: rows[position] for position in sorted(ready)}


def _rows(
    classifier: Classifier, batch: Batch, config: AnalyzeConfig, attacks: Sequence[Attack]
) -> tuple[Rows, BatchOutput | None, list[BatchOutput]]:
    """Records of a batch without LIME, and what was seen of it."""
    rows = skipped_rows(batch)
    if not batch.positions:
        return rows, None, []
    images, labels, seeds = checked_inputs(classifier, batch, config.run.seed)
    masks = batch.masks.to(classifier.device)
    method = config.map_method
    target = config.target_of(method) if method else ""
    with naming("images", batch.image_ids):
        clean, adversarial = fused_pass(classifier, images, labels, attacks, method, target, seeds)
    for seen in (clean, *adversarial):
        check_finite(seen.logits, batch)
    columns = _columns(clean, labels, masks)
    attacked = [_columns(seen, labels, masks, clean.maps) for seen in adversarial]
    for index, position in enumerate(batch.positions):
        rows[position] = {
            "image_id": batch.image_ids[index],
            "label": int(labels[index]),
            "boxes": batch.boxes[index],
            "mask": pack(batch.masks[index].numpy()) if batch.masked[index] else None,
            "dropped_boxes": batch.dropped_boxes[index],
            "box_share": _or_none(batch.box_shares[index]),
            **{name: values[index] for name, values in columns.items()},
            "adversarial": [{name: values[index] for name, values in of_eps.items()} for of_eps in attacked],
        }
    return rows, clean, adversarial


def _columns(seen: BatchOutput, labels: Labels, masks: Tensor, clean: Maps | None = None) -> dict[str, list[Any]]:
    """A value per image for each column that the records have of clean and of adversarial images; of maps, if any."""
    confidence = seen.logits.softmax(1).gather(1, labels[:, None])[:, 0]
    columns = {"prediction": seen.logits.argmax(1).tolist(), "confidence": confidence.tolist()}
    if seen.maps is not None:
        columns["iou_att_gt"] = [_or_none(value) for value in map_mask_iou(seen.maps, masks).tolist()]
        columns["map"] = seen.maps.flatten(1).cpu().numpy().tolist()
        if clean is not None:
            shared = topk_intersection(clean, seen.maps).tolist()
            columns["shared_cells"] = [None if cells[0] < 0 else cells for cells in shared]
    return columns


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
