"""A run as data sets in COCO's layout: of its clean images, and of those of each eps or of the corruption.

Coordinates are pixels of images at the model's size, as everywhere in a run. A category's id is the index of its class.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attnlab import __version__
from attnlab.exports.pictures import IMAGES, picture_of, places, write_pictures
from attnlab.exports.views import ClassNames, Truth, View, has_labels, truth_of, views_of
from attnlab.exports.write import Export
from attnlab.report.description import class_names, title
from attnlab.words import counted

FILE = "annotations.json"
INSTEAD = "; --no-images writes annotations.json alone"


def coco(export: Export) -> list[str]:
    """Write annotations.json, of each eps too unless without images; it comes last, when all pictures are there."""
    manifest, config = export.manifest, export.config
    shown = None if config.no_images else write_pictures(export, maps=True, instead=INSTEAD)
    where = places(export.out, manifest["options"])[: 1 if shown is None else None]
    names = ClassNames(class_names(manifest))
    sets = [Instances(place, manifest, names) for place in where]
    for record in export.rows():
        if shown is not None and record["image_id"] not in shown:
            continue
        views, truth = views_of(record, manifest), truth_of(record, manifest["model"]["input_size"])
        for index, instances in enumerate(sets):
            instances.add(record, truth, _about(index, views, names))
    for instances in reversed(sets):
        path = export.write(str((instances.place / FILE).relative_to(export.out)), instances.encoded())
    count = len(sets[0].images)
    line = f"{path}: {counted(count, 'image')}, {counted(len(sets[0].annotations), 'annotation')}"
    attacked = "corrupted ones" if None in manifest["options"]["eps"] else "each eps likewise"
    return [line] if shown is None else [f"{line}; {attacked} below {export.out / 'adversarial'}"]


@dataclass
class Instances:
    """COCO's instances of the images in a folder.

    Attributes:
        place: The folder, which has them in images/.
        manifest: Of the run.
        names: Of classes.
    """

    place: Path
    manifest: Mapping[str, Any]
    names: ClassNames
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    highest: int = -1  # index of a class that was met

    def add(self, record: Mapping[str, Any], truth: Sequence[Truth], attributes: dict[str, Any]) -> None:
        """Add an image and the objects of its ground truth; attributes are said of both."""
        height, width = self.manifest["model"]["input_size"]
        number, file = len(self.images) + 1, picture_of(self.place, record["image_id"])
        self.images.append(
            {
                "id": number,
                "file_name": file.relative_to(self.place / IMAGES).as_posix(),
                "width": width,
                "height": height,
                "image_id": record["image_id"],
                **({"label": self.names[record["label"]]} if has_labels(self.manifest) else {}),
                **attributes,
            }
        )
        predictions = [record["prediction"], *(row["prediction"] for row in record["adversarial"])]
        self.highest = max(self.highest, record["label"], *predictions)
        for box, mask in truth:
            x0, y0, x1, y1 = box
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": number,
                    "category_id": record["label"],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0) if mask is None else int(mask.sum()),
                    "segmentation": [] if mask is None else runs_of(mask),
                    "iscrowd": 0,
                    "attributes": attributes,
                }
            )

    def encoded(self) -> bytes:
        """The content of the file."""
        known = len(self.names.classes) or self.manifest["model"].get("classes", 0)
        count = max(known, self.highest + 1)
        content = {
            "info": {"description": f"{title(self.manifest)}, exported by attnlab {__version__}"},
            "licenses": [],
            "categories": [{"id": number, "name": self.names[number], "supercategory": ""} for number in range(count)],
            "images": self.images,
            "annotations": self.annotations,
        }
        return json.dumps(content, allow_nan=False).encode()


def runs_of(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """A mask, (H, W), as COCO's uncompressed runs: down the columns, the first of pixels outside it."""
    pixels = mask.ravel(order="F")
    edges = [0, *(np.flatnonzero(pixels[1:] != pixels[:-1]) + 1).tolist(), len(pixels)]
    counts = [end - start for start, end in pairwise(edges)]
    return {"size": list(mask.shape), "counts": [0, *counts] if pixels[0] else counts}


def _about(shown: int, views: Sequence[View], names: ClassNames) -> dict[str, Any]:
    """What the model made of an image, as attributes; of the clean one also what it made of its other views."""
    own = _scalars(views[shown], names)
    if shown:
        how = {"corruption": views[shown].name} if views[shown].eps is None else {"eps": views[shown].eps}
        return {**own, **how, "clean_prediction": names[views[0].prediction]}
    for view in views[1:]:
        ending = view.name.translate(str.maketrans(" /.@-", "_____"))
        own |= {f"{key}_{ending}": value for key, value in _scalars(view, names).items()}
    return own


def _scalars(view: View, names: ClassNames) -> dict[str, Any]:
    """Attributes of one view; what it does not have is left out."""
    values = {
        "prediction": names[view.prediction],
        "label_confidence": view.label_confidence,
        "iou": view.iou,
        "group": view.group or None,
    }
    return {key: value for key, value in values.items() if value is not None}
