"""The JSON of COCO's instances, checked; files of COCO that hold something else are refused as what they are."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from attnlab.data.text import read_text
from attnlab.errors import UserError
from attnlab.stores import StorePath

LISTS = ("images", "annotations", "categories")
#: what only annotations without a box and a segmentation have -> what such a file holds
KINDS = {"caption": "captions", "segments_info": "panoptic segments", "keypoints": "keypoints without boxes"}


class Instances(NamedTuple):
    """What a JSON of instances lists; every id, file name and category is of the right type and there once."""

    images: list[dict[str, Any]]  # with id and file_name
    annotations: list[dict[str, Any]]  # of these images, with image_id and category_id
    categories: list[tuple[int, str]]  # id and name, sorted by id
    strays: int  # annotations of images that it does not list


def read_instances(path: Path | StorePath) -> Instances:
    """Read a JSON of instances.

    Raises:
        UserError: If it is cut, holds something else, or an id or a name twice.
    """
    images, annotations, categories = _lists(path, _parsed(path))
    for image in images:
        image.setdefault("file_name", image.get("coco_url"))  # the only name that LVIS gives
    _check_all(images, {"id": (int, float, str), "file_name": (str,)}, f"image of {path}")
    _check_all(categories, {"id": (int,), "name": (str,)}, f"category of {path}")
    _check_all(annotations, {"image_id": (int, float, str), "category_id": (int,)}, f"annotation of {path}")
    for what, items, key in (
        ("images", images, "id"),
        ("images", images, "file_name"),
        ("categories", categories, "id"),
        ("categories", categories, "name"),
    ):
        value, times = Counter(item[key] for item in items).most_common(1)[0]
        if times > 1:
            raise UserError(f"expected no two {what} of {path} with one {key}, got {value!r:.60} {times} times")
    listed = {image["id"] for image in images}
    known = [annotation for annotation in annotations if annotation["image_id"] in listed]
    pairs = sorted((category["id"], category["name"]) for category in categories)
    return Instances(images, known, pairs, len(annotations) - len(known))


def _parsed(path: Path | StorePath) -> Any:
    text = read_text(path)
    if not text.strip():
        raise UserError(f"expected {path} to be a JSON of COCO's instances, got an empty file")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # the first: json's own error, or a number of too many digits
        raise UserError(f"expected {path} to be whole JSON, got a cut or malformed one: {error}") from None


def _lists(path: Path | StorePath, content: Any) -> list[list[dict[str, Any]]]:
    """Images, annotations and categories, each a list of objects with something in it."""
    if not isinstance(content, dict):
        first = content[0] if isinstance(content, list) and content and isinstance(content[0], dict) else {}
        got = "a list" if isinstance(content, list) else type(content).__name__
        got = "a detector's results, a list" if "score" in first else got
        got = "tasks of Label Studio, which exports COCO too" if "data" in first else got
        raise UserError(f"expected {', '.join(LISTS)} in {path}, as COCO's instances have them, got {got}")
    annotations = content.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else {}
    has = set(first) if isinstance(first, dict) else set()
    other = next((kind for key, kind in KINDS.items() if key in has and not has & {"bbox", "segmentation"}), None)
    if other or ("images" in content and "annotations" not in content):
        raise UserError(f"expected COCO's instances in {path}, got {other or 'images without annotations'}")
    for name in LISTS:
        items = content.get(name)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            keys = f"the keys {', '.join(list(content)[:6])}" if content else "no keys"
            got = f"other {name}" if name in content else keys
            raise UserError(f"expected lists of {', '.join(LISTS)} in {path}, as COCO has them, got {got}")
        if not items and name != "annotations":
            raise UserError(f"expected {name} in {path}, got none")
    return [content[name] for name in LISTS]


def _check_all(items: Iterable[dict[str, Any]], kinds: dict[str, tuple[type, ...]], what: str) -> None:
    """Refuse items in which a value is missing or of another type."""
    for key, types in kinds.items():
        for place, item in enumerate(items):
            if type(item.get(key)) not in types:  # nor a bool, which isinstance takes for an int
                words = "a text" if types == (str,) else "a whole number" if types == (int,) else "a number or a text"
                raise UserError(
                    f"expected {key} of each {what} to be {words}, got {item.get(key)!r:.40} in no. {place}"
                )
