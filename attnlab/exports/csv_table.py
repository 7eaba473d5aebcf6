"""A run's records as one CSV file: a row per image and eps, or per image, model and attack; scalars alone."""

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

from attnlab.exports.views import ClassNames, has_labels
from attnlab.exports.write import Export
from attnlab.files import safe_cell
from attnlab.manifests import map_methods
from attnlab.recorded_attacks import is_targeted
from attnlab.records import Row
from attnlab.report.description import Manifest, class_names, models_of, outcomes_of
from attnlab.report.figures.analysis import seen_by
from attnlab.report.page.images import figures_of, numbers_of
from attnlab.words import counted

FILE = "records.csv"

Cells = dict[str, Any]


def csv_table(export: Export) -> list[str]:
    """Write records.csv; what a row lacks is an empty cell, and texts are as `safe_cell` has them."""
    rows = (_analysis if export.manifest["kind"] == "analyze" else _evaluation)(export)
    content = io.StringIO(newline="")
    writer: csv.DictWriter[str] | None = None
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 - the last counts
        if writer is None:
            writer = csv.DictWriter(content, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({key: safe_cell(value) if isinstance(value, str) else value for key, value in row.items()})
    path = export.write(FILE, content.getvalue().encode())
    return [f"{path}: {counted(count, 'row')} of {counted(len(export.image_ids), 'image')}"]


def _analysis(export: Export) -> Iterator[Cells]:
    """A row per image, method that maps, and eps, with every figure that the report shows of it.

    LIME's numbers stand in the rows of the first method alone.
    """
    methods = [export.config.method] if export.config.method else map_methods(export.manifest)
    names, outcomes = ClassNames(class_names(export.manifest)), outcomes_of(export.manifest)
    figures, labelled = figures_of(export.manifest, methods[:1]), has_labels(export.manifest)
    aimed = _aimed(export.manifest)
    pairs = ((row, method) for row in export.rows() for method in methods or [""])
    for row, method in pairs:
        record = seen_by(_without_lime(row) if method in methods[1:] else row, method, export.manifest)
        numbers = numbers_of(record, export.manifest, figures)
        for index, eps in enumerate(export.manifest["options"]["eps"]):
            attacked = record["adversarial"][index]["prediction"]
            values = numbers["values"].items()
            yield {
                "image_id": record["image_id"],
                **({"method": method} if methods[1:] else {}),
                "eps": eps,
                "group": outcomes.name(numbers["groups"][index]),
                "label": record["label"] if labelled else None,
                "class": names[record["label"]] if labelled else None,
                "prediction": record["prediction"],
                "predicted_class": names[record["prediction"]],
                "adv_prediction": attacked,
                "adv_predicted_class": names[attacked],
                **aimed(record["adversarial"][index]),
                "truth": "mask" if record["mask"] else "boxes" if record["boxes"] else None,
                "boxes": len(record["boxes"]),
                "dropped_boxes": record["dropped_boxes"],
                "box_share": record["box_share"],
                **{key: value[index] if isinstance(value, list) else value for key, value in values},
            }


def _aimed(manifest: Manifest) -> Callable[[Row], Cells]:
    """Cells about the target of what an attack did, of a run that has targeted attacks; else none."""
    options = manifest["options"]
    attacks = [options["attack"]] if manifest["kind"] == "analyze" else options["attacks"].values()
    return (lambda outcome: {"target": outcome["target"]}) if any(map(is_targeted, attacks)) else lambda _outcome: {}


def _without_lime(record: Row) -> Row:
    attacked = [{**row, "lime": None} for row in record["adversarial"]]
    return {**record, "lime": None, "lime_again": None, "adversarial": attacked}


def _evaluation(export: Export) -> Iterator[Cells]:
    """A row per image, model and attack."""
    labelled = has_labels(export.manifest)
    names_of = {
        model: ClassNames(class_names(export.manifest, model)) for model in models_of(export.manifest["options"])
    }
    aimed = _aimed(export.manifest)
    for record in export.rows():
        names = names_of[record["model"]]
        for outcome in record["attacks"]:
            yield {
                "model": record["model"],
                "image_id": record["image_id"],
                "label": record["label"] if labelled else None,
                "class": names[record["label"]] if labelled else None,
                "clean_prediction": record["prediction"],
                "clean_predicted_class": names[record["prediction"]],
                "attack": outcome["attack"],
                "prediction": outcome["prediction"],
                "predicted_class": names[outcome["prediction"]],
                **aimed(outcome),
                "correct": int(outcome["prediction"] == record["label"]),
                "margin": outcome["margin"],
                "loss": outcome["loss"],
                "steps_to_success": outcome["steps_to_success"],
            }
