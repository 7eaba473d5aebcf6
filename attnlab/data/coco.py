"""Images with instances in a JSON as COCO writes them, and as labelling tools export them."""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from attnlab.data.base import FileSet
from attnlab.data.boxes_table import check_pixels
from attnlab.data.coco_files import find, locate
from attnlab.data.coco_json import read_instances
from attnlab.data.masks import MaskSource, PolygonMask, RleMask, packed
from attnlab.data.objects import Annotated, Object, check_corners, file_set, numbered
from attnlab.errors import Unusable, UserError
from attnlab.stores import Root, StorePath
from attnlab.words import counted

Box = tuple[float, ...]  # half-open pixels x0, y0, x1, y1
Size = tuple[int, int]  # height and width

MOST = 1e9  # pixels that a coordinate may be away from 0
CROWD = "with crowd regions, which are no objects"
NO_OBJECT = "with an object that has neither a box of some width and height nor a mask, left out"
ODD_BOX = "with an empty or malformed box, for which the frame around its mask stands"
ODD_MASK = "with a malformed mask, whose box counts"
OTHER_MASK = "with a mask of another size than its image, whose box counts"
CUT_MASK = "with a mask of which a polygon has fewer than three points, left out"


def coco(root: Root, split: str, label: str | None) -> FileSet:
    """Open the instances of a split: boxes and masks of objects, of several classes an image.

    Where the JSON and the images lie is looked up as `find` and `locate` say. The class index is a category's place
    among those sorted by id; a classes.txt beside the JSON or in ROOT gives another order. Boxes x, y, width, height
    become x, y, x + width, y + height. Boxes and masks refer to the picture turned as EXIF says, of the size that the
    JSON gives; another size of the same aspect scales them, another aspect leaves the image out. Crowd regions are no
    objects. Without `label` the largest object decides, by `area` where all objects of an image have one.
    """
    folder, path = find(root, split)
    images, annotations, categories, strays = read_instances(path)
    if strays:
        warnings.warn(f"{counted(strays, 'annotation')} of {path} name images that it does not list", stacklevel=2)
    used = {annotation["category_id"] for annotation in annotations}
    names, needed = [name for _, name in categories], [name for category, name in categories if category in used]
    index_of, classes = numbered(names, (path.parent, folder), path, needed)
    labels = {category: index_of.get(name) for category, name in categories}
    sizes = {image["id"]: _size(image) for image in images}
    boxes = [_box(annotation.get("bbox")) for annotation in annotations]
    check_pixels((value for box in boxes for value in box or ()), path)
    pairs = [(box, sizes[one["image_id"]]) for box, one in zip(boxes, annotations, strict=True)]
    sized = [(box, size) for box, size in pairs if box and size]
    check_corners([box for box, _ in sized], [size for _, size in sized], path)
    annotated: dict[Any, list[tuple[dict[str, Any], Box | None]]] = {image["id"]: [] for image in images}
    for annotation, box in zip(annotations, boxes, strict=True):
        annotated[annotation["image_id"]].append((annotation, box))
    entries = {
        name: file if isinstance(file, Unusable) else _image(file, annotated[image["id"]], sizes[image["id"]], labels)
        for image, (name, file) in zip(images, locate(folder, path, split, images), strict=True)
    }
    if len(entries) < len(images):
        raise UserError(f"expected each image of {path} to be another file, got {len(images) - len(entries)} twice")
    return file_set("coco", classes, entries, label or "largest", strict_aspect=True)


def _image(
    file: Path | StorePath,
    annotations: list[tuple[dict[str, Any], Box | None]],
    size: Size | None,
    labels: dict[int, int | None],
) -> Annotated | Unusable:
    """An image and its objects, of annotations with their boxes."""
    objects, notes = [], []
    for annotation, box in annotations:
        if (category := annotation["category_id"]) not in labels:
            return Unusable(f"category {category} of an annotation is not among the categories")
        one, note = _object(annotation, box, size, labels[category] or 0)
        if one:
            objects.append(one)
        if note:
            notes.append(note)
    if annotations and not objects:
        reasons = "; ".join(note.removeprefix("with ") for note in dict.fromkeys(notes))
        return Unusable(f"no object in its annotation ({reasons})")
    if not all(one.area for one in objects):  # those of masks and of boxes are not to be compared
        objects = [one._replace(area=None) for one in objects]
    return Annotated(file, objects, size, tuple(dict.fromkeys(notes)))


def _size(image: dict[str, Any]) -> Size | None:
    """Height and width of an image, where both are given."""
    height, width = (_whole(image.get(side)) for side in ("height", "width"))
    return (height, width) if height and width else None


def _whole(value: Any) -> int | None:
    """A whole number above 0, also written as 640.0 or "640"; None of anything else."""
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    return int(value) if type(value) in (int, float) and 0 < value < MOST and value == int(value) else None


def _object(annotation: dict[str, Any], box: Box | None, size: Size | None, label: int) -> tuple[Object | None, str]:
    """An object, None of what is none, and what is to be said of it."""
    if annotation.get("iscrowd"):
        return None, CROWD
    polygons, mask, note = _mask(annotation.get("segmentation"), size)
    if box is None and mask is None:
        return None, NO_OBJECT
    if box is None:
        box = _frame(polygons)
        note = note or (ODD_BOX if annotation.get("bbox") else "")
    area = annotation.get("area")
    # one beyond its box is not the object's, but such as the image's
    most = math.inf if box is None else (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    known = isinstance(area, int | float) and 0 < area < math.inf and area <= most
    return Object(label, box, mask, area if known else None), note


def _box(given: Any) -> Box | None:
    """A box as corners; None of one that is missing, empty or malformed."""
    if type(given) is not list or len(given) != 4 or not all(type(value) in (int, float) for value in given):
        return None
    x, y, width, height = given
    sound = width > 0 and height > 0 and all(-MOST < value < MOST for value in given)  # nor NaN
    return (x, y, x + width, y + height) if sound else None


def _mask(given: Any, size: Size | None) -> tuple[list[list[float]], MaskSource | None, str]:
    """The polygons of a mask, the mask, and what is to be said of it."""
    if not given:
        return [], None, ""
    if type(given) is dict:
        return [], *_runs(given, size)
    if type(given) is not list:
        return [], None, ODD_MASK
    try:
        sound = all(len(points) % 2 == 0 and math.isfinite(sum(points)) for points in given)
        polygons = [points for points in given if len(points) >= 6]
        coded = tuple(map(packed, polygons))
    except (TypeError, OverflowError):  # such as of a list of numbers
        sound = False
    if not sound or not coded:
        return [], None, ODD_MASK
    return polygons, PolygonMask(coded, size), "" if len(polygons) == len(given) else CUT_MASK


def _frame(polygons: list[list[float]]) -> Box | None:
    """The frame around polygons; None of a mask of runs."""
    points = np.array([value for points in polygons for value in points], float).reshape(-1, 2)
    return (*points.min(0).tolist(), *points.max(0).tolist()) if len(points) else None


def _runs(given: dict[str, Any], size: Size | None) -> tuple[RleMask | None, str]:
    """A mask of runs, compressed or not, and what is to be said of it."""
    counts, own = given.get("counts"), given.get("size")
    if type(own) is not list or len(own) != 2 or size is None or tuple(own) != size:
        return None, OTHER_MASK
    if type(counts) is str and counts.isascii():
        return RleMask(counts.encode(), size, compressed=True), ""
    if type(counts) is list and all(type(count) is int for count in counts) and sum(counts) == size[0] * size[1]:
        return RleMask(packed(counts), size, compressed=False), ""
    return None, ODD_MASK
