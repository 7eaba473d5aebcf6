"""Lines about a run for people: how many images, what was left out and why."""

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import pandas as pd

from attnlab.records import CHECKS, SANITY, read_checks, under_random_weights
from attnlab.report.attack_words import eps_of, falls_short
from attnlab.report.description import holds_prediction, predicted_labels
from attnlab.report.tables import BOXES, LIME, MAPS, TABLES
from attnlab.report.tables.iou import each_method
from attnlab.report.tables.sources import Source
from attnlab.runs import Run
from attnlab.words import as_fraction, counted


def of_analysis(run: Run, source: Source, frames: Mapping[str, pd.DataFrame]) -> list[str]:
    """Lines about a run of `analyze` and its tables."""
    options, images, records = source.manifest["options"], source.given["images"], source.given["records"]
    once = records.drop_duplicates("image_id")
    correct = once[once["prediction"] == once["label"]]
    accuracy = 100 * len(correct) / max(len(once), 1)
    share = predicted_labels(source.manifest) or f"accuracy {accuracy:.2f} %"
    lines = [
        f"{len(once)} of {counted(options['images'], 'image')} recorded, {share}; "
        f"I_att: {counted(images['image_id'].nunique(), 'image')}"
    ]
    skipped = sum(len(part) - part["skipped"].null_count for part in run.parts(["skipped"]))
    lines += _skipped(skipped) + _unfinished(source)
    if BOXES in source.has:
        boxless = int((~(correct["box_share"] > 0)).sum())
        if boxless:
            lines.append(f"left out: {counted(boxless, 'correctly classified image')} without a usable box")
        dropped = int(once["dropped_boxes"].sum())
        if dropped:
            lines.append(f"dropped: {counted(dropped, 'box')} empty, inverted or outside the image")
    else:
        lines.append("these data have no boxes: Tables 1, 2 and 4, which compare attention with them, are left out")
    short = [eps for eps in options["eps"] if falls_short(options["attack"], eps)]
    if short:
        lines.append(f"too few or too short steps to reach eps {eps_of(short)}: weaker than their eps says")
    if LIME in source.has:
        explained = images.dropna(subset="samples").drop_duplicates("image_id")["samples"]
        samples = explained.sum() / max(1, len(explained))
        lines.append(f"LIME explanations of {counted(len(explained), 'image')}, {samples:.0f} samples each on average")
        for name, frame in frames.items():
            areas = len(explained) * (len(frame) // 2)
            if LIME in TABLES[name].needs and frame["n"].sum() < areas:
                lines.append(f"{name}: {areas - frame['n'].sum()} of {areas} areas are empty and have no IoU")
    methods = source.given["methods"] if MAPS in source.has else []
    for eps, method, of_both in each_method(images, options["eps"], methods) if methods else ():
        constant = int(of_both[f"table3_{source.given['cells'][0]}"].isna().sum())
        if constant:
            of = f" of {method}" if methods[1:] else ""
            lines.append(
                f"constant maps{of}: {counted(constant, 'image')} at eps {as_fraction(eps)}: no area, empty IoU"
            )
    lines += _nothing_to_move(run, options, set(images["image_id"]))
    likeness = [f"{name} {alike:.2f}" for name, alike in under_random_weights(run.folder).items()]
    if likeness:
        lines.append(f"rank correlation of |maps| under trained and random weights ({SANITY}): {', '.join(likeness)}")
    return lines + _checks(run.folder)


def _nothing_to_move(run: Run, options: Mapping[str, Any], images: Set[str]) -> list[str]:
    """A line about images that an attack on maps leaves as they are, for it moves what is positive in a clean map."""
    attack, methods = options["attack"] or {}, options["methods"]
    if not holds_prediction(attack) or attack["method"] not in methods:
        return []
    place, blank = methods.index(attack["method"]), 0
    shows, lacking = (any, "no value but 0") if attack["distance"] == "cosine" else (_any_positive, "no positive value")
    for part in run.parts(["image_id", "maps"]):
        for image, maps in zip(part["image_id"].to_pylist(), part["maps"].to_pylist(), strict=True):
            blank += image in images and not shows(maps[place]["values"])
    if not blank:
        return []
    return [
        f"nothing to move: the clean {attack['method']} map of {counted(blank, 'image')} has {lacking}; "
        "such an image stays as it is, with an IoU of 1 in Table 3"
    ]


def _any_positive(values: Iterable[float]) -> bool:
    return any(value > 0 for value in values)


def of_evaluation(run: Run, source: Source) -> list[str]:
    """Lines about a run of `evaluate`."""
    options, records = source.manifest["options"], source.given["records"]
    wanted = options["images"] * len(options["models"])
    rows = run.table(["image_id", "skipped"])
    skipped = len(rows.filter(rows["skipped"].is_valid())["image_id"].unique())
    done = len(records.drop_duplicates(["model", "image_id"]))
    lines = [f"{done} of {counted(wanted, 'record')} of images and models"]
    if predicted_labels(source.manifest):
        lines.append("without labels: accuracy is the share of images whose clean prediction the attack leaves")
    lines += _skipped(skipped)
    for name, attacks in source.manifest.get("left_out", {}).items():
        lines.append(f"{name}: left out {', '.join(attacks)}, which climb a gradient that its outputs do not have")
    short = [name for name, attack in options["attacks"].items() if attack and falls_short(attack, attack.get("eps"))]
    if short:
        lines.append(f"{', '.join(short)}: too few or too short steps to reach eps; weaker than their eps says")
    lines += _checks(run.folder, "no sign of masked gradients was found, which proves nothing")
    return lines + _unfinished(source)


def _skipped(images: int) -> list[str]:
    return [f"{counted(images, 'image')} could not be used; skipped.csv says why"] if images else []


def _unfinished(source: Source) -> list[str]:
    return ["unfinished: repeat the command to resume"] if source.manifest["finished"] is None else []


def _checks(folder: Path, none: str = "") -> list[str]:
    """A line for each finding in a run's checks.csv; `none` where the checks found nothing, empty for no line."""
    findings = read_checks(folder)
    if findings is None:
        exists = (folder / CHECKS).exists()
        return [f"{CHECKS} is damaged: the command that made this run makes it again"] if exists else []
    return [f"check: {model}: {finding}" for model, finding in findings] or ([none] if none else [])
