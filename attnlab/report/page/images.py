"""What a page's script reads of one image of an analysis, from its record."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnlab.boxes import iou_of_shared, rasterise
from attnlab.report.description import map_method
from attnlab.report.page.pictures import as_map, as_mask
from attnlab.report.tables import CELLS, GROUPS
from attnlab.report.tables.lime import lime_ious, segments_of
from attnlab.superpixels import area
from attnlab.words import counted

#: where an image stands that the tables leave out
MISCLASSIFIED, WITHOUT_BOX = "misclassified", "no box"
#: of which images a figure is that holds them against each other
BOTH = "original / adversarial"
#: the number of cells whose IoU is drawn as a distribution
DRAWN_CELLS = 10

Record = Mapping[str, Any]


class Figure(NamedTuple):
    """A number that each image has.

    Attributes:
        key: Its name in the page's data.
        row: What it is.
        of: `clean` or `adversarial`, of which image it is; BOTH where it holds them against each other.
        drawn: Its distribution is drawn.
    """

    key: str
    row: str
    of: str
    drawn: bool = True

    @property
    def name(self) -> str:
        """What it is, and of which image."""
        return f"{self.row}, {self.of}"


def figures_of(manifest: Mapping[str, Any]) -> list[Figure]:
    """Which numbers the images of an analysis have."""
    pair = ("clean", "adversarial")
    has_boxes = manifest["data"]["has_boxes"]
    figures = [Figure(f"confidence_{of}", "label's confidence", of) for of in pair]
    if map_method(manifest["options"]) is not None:
        if has_boxes:
            figures += [Figure(f"iou_{of}", "IoU with boxes", of) for of in pair]
        cells = [k for k in CELLS if k < np.prod(manifest["model"]["map_shape"])]
        drawn = DRAWN_CELLS if DRAWN_CELLS in cells else cells[0] if cells else 0
        figures += [Figure(f"cells_{k}", f"IoU of {counted(k, 'cell')}", BOTH, drawn=k == drawn) for k in cells]
    if "lime" in manifest["options"]["methods"]:
        for count in manifest["features"]:
            drawn = count == manifest["features"][0]
            if has_boxes:
                row = f"LIME IoU with boxes, {counted(count, 'superpixel')}"
                figures += [Figure(f"lime_{of}_{count}", row, of, drawn) for of in pair]
            figures.append(Figure(f"lime_{count}", f"LIME IoU of {counted(count, 'superpixel')}", BOTH, drawn))
            if manifest["options"]["lime_floor"]:
                figures.append(
                    Figure(
                        f"lime_seeds_{count}", f"LIME IoU of two seeds, {counted(count, 'superpixel')}", "clean", False
                    )
                )
    return figures


def describe(record: Record, manifest: Mapping[str, Any], figures: Sequence[Figure]) -> dict[str, Any]:
    """What the page knows of an image.

    Args:
        record: Its row of the records, as in `attnlab.records.ATTENTION`.
        manifest: Of the run.
        figures: As `figures_of` gives them.

    Returns:
        id, label, predictions (of the clean image, then of each eps), groups (of each eps), boxes, share (of the image
        that the boxes cover), values (of each figure, a list where each eps has its own); where the run has them, maps
        and lime: the clean image's, then each eps's.
    """
    height, width = manifest["model"]["input_size"]
    boxes = [list(map(float, box)) for box in record["boxes"]]
    values = _values(record, manifest)
    attacked = record["adversarial"]
    image = {
        "id": record["image_id"],
        "label": record["label"],
        "predictions": [record["prediction"], *(one["prediction"] for one in attacked)],
        "groups": [_group(record, one, manifest["data"]["has_boxes"]) for one in attacked],
        "boxes": boxes,
        "share": float(rasterise(np.array(boxes).reshape(-1, 4), height, width).mean()),
        "values": {figure.key: values[figure.key] for figure in figures},
    }
    maps = [record["map"], *(one["map"] for one in attacked)]
    if maps[0] is not None:
        image["maps"] = [as_map(one) for one in maps]
    explanations = [record["lime"], *(one["lime"] for one in attacked)]
    if explanations[0] is not None:
        image["lime"] = [_lime_area(one, manifest) for one in explanations]
    return image


def _group(record: Record, attacked: Record, has_boxes: bool) -> str:
    if record["prediction"] != record["label"]:
        return MISCLASSIFIED
    if has_boxes and not (record["box_share"] or 0) > 0:
        return WITHOUT_BOX
    return GROUPS[0] if attacked["prediction"] != record["prediction"] else GROUPS[1]


def _values(record: Record, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Every number of an image: one, or a list of one for each eps; None where it has none."""
    attacked = record["adversarial"]
    values = {
        "confidence_clean": record["confidence"],
        "confidence_adversarial": [one["confidence"] for one in attacked],
        "iou_clean": record["iou_att_gt"],
        "iou_adversarial": [one["iou_att_gt"] for one in attacked],
    }
    for k in CELLS:
        shared = [one["shared_cells"][k - 1] if k <= len(one["shared_cells"] or ()) else None for one in attacked]
        values[f"cells_{k}"] = [None if both is None else iou_of_shared(both, k) for both in shared]
    if "lime" in manifest["options"]["methods"]:
        size = tuple(manifest["model"]["input_size"])
        explained = {name: record[name] for name in ("boxes", "lime", "lime_again")}
        ious = [lime_ious({**explained, "adv_lime": one["lime"]}, size, manifest["features"]) for one in attacked]
        for count in manifest["features"]:
            values[f"lime_clean_{count}"] = _known(ious[0]["table4"][count])
            values[f"lime_seeds_{count}"] = _known(ious[0]["noise_floor"][count])
            values[f"lime_adversarial_{count}"] = [_known(one["table4_adversarial"][count]) for one in ious]
            values[f"lime_{count}"] = [_known(one["table5"][count]) for one in ious]
    return values


def _known(value: float) -> float | None:
    return value if value == value else None


def _lime_area(explanation: Record, manifest: Mapping[str, Any]) -> str:
    """The area of the run's first number of superpixels."""
    segments = segments_of(explanation, tuple(manifest["model"]["input_size"]))
    return as_mask(area(np.asarray(explanation["weights"]), segments, manifest["features"][0]))
