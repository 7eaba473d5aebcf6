"""Numbers of one image, and what a page draws of it, from its record."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnlab.boxes import ground_truth, iou_of_shared
from attnlab.flat_records import seen_as
from attnlab.kept_maps import grid_of, segments_of
from attnlab.manifests import map_methods
from attnlab.report.outcomes import GROUPS
from attnlab.report.page.pictures import as_map, as_mask, as_outline
from attnlab.report.tables import CELLS
from attnlab.report.tables.lime import lime_ious
from attnlab.superpixels import area
from attnlab.words import counted

MISCLASSIFIED, WITHOUT_BOX = "misclassified", "no box"  # where an image stands that the tables leave out
#: of which images a figure is: of each kind, or of both, compared with each other
PAIR, BOTH = ("clean", "adversarial"), "original / adversarial"
DRAWN_CELLS = 10  # the number of cells whose IoU is drawn as a distribution

Record = Mapping[str, Any]


class Figure(NamedTuple):
    """A number that each image has."""

    key: str  # its name in the page's data
    row: str  # what it is
    of: str  # one of PAIR, or BOTH
    drawn: bool = True  # as a distribution
    method: int | None = None  # place of its method among several that map; None where it is of no map, or of the one

    @property
    def name(self) -> str:
        """Its kind, and the image it is of."""
        return f"{self.row}, {self.of}"


def figures_of(manifest: Mapping[str, Any], methods: Sequence[str] | None = None) -> list[Figure]:
    """Which numbers the images of an analysis have; of maps those of `methods`, by default of all that map."""
    has_boxes, methods = manifest["data"]["has_boxes"], map_methods(manifest) if methods is None else methods
    figures = [Figure(f"confidence_{of}", "label's confidence", of) for of in PAIR]
    for order, method in enumerate(methods):
        ending, named = key_ending(order), f", {method}" if methods[1:] else ""
        place = order if methods[1:] else None
        if has_boxes:
            figures += [Figure(f"iou_{of}{ending}", f"IoU with ground truth{named}", of, method=place) for of in PAIR]
        cells = [k for k in CELLS if k < np.prod(grid_of(manifest["model"]["map_shape"]))]
        drawn = DRAWN_CELLS if DRAWN_CELLS in cells else min(cells, default=0)
        figures += [
            Figure(f"cells_{k}{ending}", f"IoU of {counted(k, 'cell')}{named}", BOTH, k == drawn, place) for k in cells
        ]
    for count in manifest["features"] if "lime" in manifest["options"]["methods"] else ():
        number, first = counted(count, "superpixel"), count == manifest["features"][0]
        if has_boxes:
            figures += [Figure(f"lime_{of}_{count}", f"LIME IoU with ground truth, {number}", of, first) for of in PAIR]
        figures.append(Figure(f"lime_{count}", f"LIME IoU of {number}", BOTH, first))
        if manifest["options"]["lime_floor"]:
            figures.append(Figure(f"lime_seeds_{count}", f"LIME IoU of two seeds, {number}", "clean", False))
    return figures


def key_ending(number: int) -> str:
    """Ending of the keys of figures of the method of that number among those that map."""
    return f"@{number}" if number else ""


def numbers_of(record: Record, manifest: Mapping[str, Any], figures: Sequence[Figure]) -> dict[str, Any]:
    """Numbers of an image, from its row of the records.

    Returns:
        id, label, predictions (of the clean image, then of each eps), groups (of each eps), values (of each figure, a
        list where each eps has its own).
    """
    values = _values(record, manifest)
    attacked = record["adversarial"]
    return {
        "id": record["image_id"],
        "label": record["label"],
        "predictions": [record["prediction"], *(row["prediction"] for row in attacked)],
        "groups": [group_of(record, row, manifest["data"]["has_boxes"]) for row in attacked],
        "values": {figure.key: values[figure.key] for figure in figures},
    }


def drawn_of(record: Record, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a page draws of an image beside its pixels, from its row of the records.

    Returns:
        boxes, or outline of the mask; share (of the image that the ground truth covers); where the run has them, maps
        and lime: the clean image's, then each eps's; of several methods the maps of further ones in `others`.
    """
    height, width = manifest["model"]["input_size"]
    masked = bool(record["mask"])
    boxes = [] if masked else [list(map(float, box)) for box in record["boxes"]]
    attacked, truth = record["adversarial"], ground_truth(record, height, width)
    image = {"boxes": boxes, "share": float(truth.mean()), **({"outline": as_outline(truth)} if masked else {})}
    if record["map"] is not None:
        seen = [seen_as(record, number) for number in range(len(record.get("maps", [""])))]
        image["maps"], *others = [[as_map(row["map"]) for row in (one, *one["adversarial"])] for one in seen]
        image |= {"others": others} if others else {}
    if record["lime"] is not None:
        features, size = manifest["features"][0], (height, width)
        image["lime"] = [
            as_mask(area(np.asarray(lime["weights"]), segments_of(lime, size), features))
            for lime in (row["lime"] for row in (record, *attacked))
        ]
    return image


def group_of(record: Record, attacked: Record, has_boxes: bool) -> str:
    """Where an image stands at one eps: the attack's outcome, or why the tables leave it out."""
    if record["prediction"] != record["label"]:
        return MISCLASSIFIED
    if has_boxes and not (record["box_share"] or 0) > 0:
        return WITHOUT_BOX
    if attacked.get("target") is not None:
        return GROUPS[0] if attacked["prediction"] == attacked["target"] else GROUPS[1]
    return GROUPS[0] if attacked["prediction"] != record["prediction"] else GROUPS[1]


def _values(record: Record, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Every number of an image: one, or a list of one for each eps; None where it has none."""
    attacked = record["adversarial"]
    values = {
        "confidence_clean": record["confidence"],
        "confidence_adversarial": [row["confidence"] for row in attacked],
    }
    for number in range(len(record.get("maps", [""]))):
        values |= {f"{key}{key_ending(number)}": value for key, value in _of_maps(seen_as(record, number)).items()}
    if "lime" in manifest["options"]["methods"]:
        size = tuple(manifest["model"]["input_size"])
        clean = {name: record[name] for name in ("boxes", "mask", "lime", "lime_again")}
        ious = [lime_ious({**clean, "adv_lime": row["lime"]}, size, manifest["features"]) for row in attacked]
        for count in manifest["features"]:
            values[f"lime_clean_{count}"] = _known(ious[0]["table4"][count])
            values[f"lime_seeds_{count}"] = _known(ious[0]["noise_floor"][count])
            values[f"lime_adversarial_{count}"] = [_known(tables["table4_adversarial"][count]) for tables in ious]
            values[f"lime_{count}"] = [_known(tables["table5"][count]) for tables in ious]
    return values


def _of_maps(record: Record) -> dict[str, Any]:
    """The numbers of `_values` that are of the maps of one method."""
    attacked = record["adversarial"]
    values = {"iou_clean": record["iou_att_gt"], "iou_adversarial": [row["iou_att_gt"] for row in attacked]}
    for k in CELLS:
        shared = [row["shared_cells"][k - 1] if k <= len(row["shared_cells"] or ()) else None for row in attacked]
        values[f"cells_{k}"] = [None if both is None else iou_of_shared(both, k) for both in shared]
    return values


def _known(value: float) -> float | None:
    return value if value == value else None
