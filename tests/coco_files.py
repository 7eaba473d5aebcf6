"""A small data set of COCO that tests write, whole or with a fault."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import gradient

HEIGHT, WIDTH = 30, 40
TRIANGLE = [4.5, 3.0, 30.2, 8.9, 12.1, 26.4]
SQUARE = [20.0, 10.0, 35.0, 10.0, 35.0, 25.0, 20.0, 25.0]
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 17, "name": "cat"}]


def image(number: int, name: str = "", **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name or f"{number:04d}.png", "height": HEIGHT, "width": WIDTH} | more


def instance(number: int, box: Sequence[float] | None, category: int = 17, **more: Any) -> dict[str, Any]:
    given = {} if box is None else {"bbox": list(box)}
    return {"image_id": number, "category_id": category, "iscrowd": 0} | given | more


def content(annotations: Sequence[Mapping[str, Any]], images: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """What a JSON says of these images, by default those that the annotations name."""
    numbers = dict.fromkeys(annotation["image_id"] for annotation in annotations)
    return {
        "images": list(images) or [image(number) for number in numbers],
        "annotations": [{"id": place} | dict(annotation) for place, annotation in enumerate(annotations)],
        "categories": CATEGORIES,
    }


def lay(
    root: Path, said: object, at: str = "annotations/instances_val2017.json", folder: str = "val2017", **names: str
) -> Path:
    """Write a JSON, and a picture for each of its images at its file name or another."""
    path = root / at
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(said if isinstance(said, str) else json.dumps(said))
    for one in said.get("images", ()) if isinstance(said, dict) else ():
        if isinstance(name := one.get("file_name"), str):
            picture = root / folder / names.get(name, name)
            picture.parent.mkdir(parents=True, exist_ok=True)
            gradient(size=(WIDTH, HEIGHT)).save(picture)
    return root
