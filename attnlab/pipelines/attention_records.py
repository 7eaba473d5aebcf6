"""Records of batches: what a classifier looks at, on each image and on its adversarial counterpart."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from attnlab.arrays import Labels
from attnlab.attacks import Attack
from attnlab.attacks.clean_pass import targets_of
from attnlab.attacks.corruptions import Corruption
from attnlab.attacks.objectives import margin
from attnlab.boxes import pack
from attnlab.config import AnalyzeConfig
from attnlab.data.resizing import Batch
from attnlab.failures import naming
from attnlab.kept_maps import grid_of
from attnlab.models.classifier import Classifier
from attnlab.pipelines.checks import check_finite, check_finite_maps, checked_inputs, own_target
from attnlab.pipelines.fused_pass import BatchOutput, fused_pass
from attnlab.pipelines.lime_stage import LimeStage, LimeTask
from attnlab.pipelines.map_columns import map_columns
from attnlab.pipelines.map_measures import BatchMeasures
from attnlab.pipelines.pending_parts import Rows, skipped_rows


def attention_records(
    classifier: Classifier,
    batches: Iterator[Batch],
    config: AnalyzeConfig,
    attacks: Sequence[Attack | Corruption],
    has_boxes: bool,
    lime: LimeStage | None,
    done: set[int],
) -> Iterator[Rows]:
    """Records of the images that are not done yet, as soon as they are complete.

    A batch is observed, and its superpixels are on their way, before the batch ahead of it is explained.
    """
    ahead: Iterator[Rows] = iter(())
    for batch in batches:
        rows = skipped_rows(batch)
        if not batch.positions:
            yield rows
            continue
        images, labels, seeds = checked_inputs(classifier, batch, config.run.seed)
        with naming("images", batch.image_ids):
            size = config.map_batch_size or len(images)
            clean, adversarial = fused_pass(
                classifier, images, labels, attacks, config.targets, seeds, size, batch.masks
            )
        # the tables use these alone
        correct = (clean.logits.argmax(1) == labels).tolist()
        targets = targets_of(attacks[0], clean.logits, labels)
        reasons = own_target(labels, clean.logits, targets, "the model's")
        used = [
            index
            for index in range(len(batch.positions))
            if correct[index] and not reasons[index] and (batch.box_shares[index] > 0 or not has_boxes)
        ]
        measures = BatchMeasures(classifier, config, batch, used, labels, seeds)
        rows |= _rows(classifier, batch, config, labels, clean, adversarial, measures, targets)
        for index, reason in enumerate(reasons):
            if reason:
                rows[batch.positions[index]] = {"image_id": batch.image_ids[index], "skipped": reason}
        if lime is None:
            yield rows
            continue
        tasks = lime.order(clean, adversarial, batch, [at for at in used if batch.positions[at] not in done])
        yield from ahead
        ahead = _complete(lime, tasks, batch, rows, done, measures)
    yield from ahead


def _complete(
    lime: LimeStage, tasks: list[LimeTask], batch: Batch, rows: Rows, done: set[int], measures: BatchMeasures
) -> Iterator[Rows]:
    """Put LIME explanations into a batch's records; records that get none come first."""
    waiting = {batch.positions[task.number] for task in tasks}
    yield {position: row for position, row in rows.items() if position not in waiting | done}
    for explanations in lime.make(tasks):
        measures.add_lime(explanations)
        for task, explanation in explanations:
            row = rows[batch.positions[task.number]]
            (row if task.eps is None else row["adversarial"][task.eps])[task.name] = explanation
        ready = {batch.positions[task.number] for task, _ in explanations}
        yield {position: rows[position] for position in sorted(ready)}


def _rows(
    classifier: Classifier,
    batch: Batch,
    config: AnalyzeConfig,
    labels: Labels,
    clean: BatchOutput,
    adversarial: list[BatchOutput],
    measures: BatchMeasures,
    targets: Labels | None,
) -> Rows:
    """Records of a batch without LIME."""
    for seen in (clean, *adversarial):
        check_finite(seen.logits, batch)
        check_finite_maps(seen.maps, batch)
    masks, grid = batch.masks.to(classifier.device), grid_of(classifier.map_shape)
    of_clean = map_columns(clean.maps, masks, grid, keep=config.keep_maps)
    of_attacked = [map_columns(seen.maps, masks, grid, clean.maps, keep=config.keep_maps) for seen in adversarial]
    measures.add(clean, of_clean)
    for seen, maps in zip(adversarial, of_attacked, strict=True):
        measures.add(seen, maps, clean)
    aimed = {} if targets is None else {"target": targets.tolist()}
    columns = [_columns(clean, labels), *(_columns(seen, labels) | aimed for seen in adversarial)]
    margins = margin(clean.logits, labels).tolist()
    rows: Rows = {}
    for index, position in enumerate(batch.positions):
        of_image = [
            {**{name: values[index] for name, values in of_eps.items()}, "maps": [row[index] for row in maps]}
            for of_eps, maps in zip(columns, [of_clean, *of_attacked], strict=True)
        ]
        rows[position] = {
            "image_id": batch.image_ids[index],
            "label": int(labels[index]),
            "margin": margins[index],
            "pixels_sha256": batch.sha256[index],
            "boxes": batch.boxes[index],
            "mask": pack(batch.masks[index].numpy()) if batch.masked[index] else None,
            "dropped_boxes": batch.dropped_boxes[index],
            "box_share": _or_none(batch.box_shares[index]),
            **of_image[0],
            "adversarial": of_image[1:],
        }
    return rows


def _columns(seen: BatchOutput, labels: Labels) -> dict[str, list[Any]]:
    """A value per image for each column beside the maps that records have of clean and of adversarial images."""
    confidence = seen.logits.softmax(1).gather(1, labels[:, None])[:, 0]
    return {"prediction": seen.logits.argmax(1).tolist(), "confidence": confidence.tolist()}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
