"""Images with labels in .txt files as YOLO reads them: boxes, turned boxes and polygons."""

import math
from collections.abc import Sequence
from functools import cache
from operator import mul
from pathlib import Path

from attnlab.data.base import FileSet
from attnlab.data.boxes_table import NAMES, class_index
from attnlab.data.masks import PolygonMask, packed
from attnlab.data.objects import Annotated, Object, file_set, numbered
from attnlab.data.yolo_files import Place, find
from attnlab.errors import Unusable, UserError
from attnlab.stores import Root, StorePath, each

#: fractions beyond the image that count as rounding; what reaches further is no fraction
ROUNDING = 0.01


def yolo(root: Root, split: str, label: str | None) -> FileSet:
    """Open a split in the layout of Ultralytics, darknet, or Roboflow.

    An image's labels lie in the .txt of its name: in the folder `labels` in place of the last `images` of its path, or
    beside it where there is no such folder. A line is an object: its class's index, and in fractions of the image its
    box as centre x, centre y, width, height, or a polygon x, y, x, y ... of three points at least, four of which may be
    the corners of a turned box. An image without a .txt, or with an empty one, shows no object. A classes.txt in ROOT
    gives another order of the classes. Without `label` the largest object decides.
    """
    top, names, said_by, images = find(root, split)
    index_of, classes = ({}, names) if said_by.name == NAMES else numbered(names, [top], said_by)
    labels = list(range(len(names))) if classes == names else [index_of[name] for name in names]
    files = _label_files(images)
    contents = each(_content, files)
    if all(content is None for content in contents):
        raise UserError(f"expected labels of YOLO beside the images or in `labels`, got none, such as {files[0]}")
    found: dict[str, Annotated | Unusable] = {}
    for (name, image), path, content in zip(images.items(), files, contents, strict=True):
        if content is None:
            there = image.is_file()
            found[name] = Unusable(f"no {path.name}, so no object" if there else "listed, but there is no such file")
        else:
            objects = _objects(content, path, labels)
            found[name] = Annotated(image, objects, (1, 1)) if objects else Unusable(f"{path.name} names no object")
    return file_set("yolo", classes, dict(sorted(found.items())), label or "largest")


def _label_files(images: dict[str, Place]) -> list[Place]:
    """The .txt of each image."""

    @cache
    def folder_of(parent: Place) -> Place:
        names = list(parent.parts)
        if "images" not in names:
            return parent
        names[len(names) - 1 - names[::-1].index("images")] = "labels"
        other = StorePath(parent.store, "/".join(names)) if isinstance(parent, StorePath) else Path(*names)
        return other if other.is_dir() else parent

    return [folder_of(image.parent) / f"{image.stem}.txt" for image in images.values()]


def _content(path: Place) -> str | None:
    """The text of a file; None where there is none."""
    try:
        return path.read_bytes().decode("utf-8-sig", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _objects(content: str, path: Place, labels: Sequence[int]) -> list[Object]:
    """The objects of an image, one a line."""
    objects = []
    for number, line in enumerate(content.splitlines(), 1):
        if words := line.split():
            try:
                objects.append(_object(words, labels))
            except ValueError as error:
                raise UserError(f"{error} in line {number} of {path}") from None
    if any(one.area is None for one in objects):  # areas of polygons and of boxes are not to be compared
        return [one._replace(area=None) for one in objects]
    return objects


def _object(words: Sequence[str], labels: Sequence[int]) -> Object:
    """The object of a line; raises ValueError with what was expected."""
    index = class_index(words[0], len(labels))
    if index is None:
        raise ValueError(f"expected a class index below {len(labels)}, got {words[0][:40]!r}")
    values = _fractions(words[1:])
    if len(values) == 5 or (len(values) > 6 and len(values) % 2):
        raise ValueError(
            "expected labels, got a number more, the confidence of a prediction? as `class x y width height confidence`"
        )
    if len(values) == 4:
        x, y, width, height = values
        return Object(labels[index], (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    if len(values) < 6:
        raise ValueError(f"expected `class x y width height` or a polygon of three points, got {len(words)} values")
    across, down = values[::2], values[1::2]
    box = (min(across), min(down), max(across), max(down))
    return Object(labels[index], box, PolygonMask((packed(values),), (1, 1)), _area(across, down))


def _fractions(words: Sequence[str]) -> list[float]:
    """Coordinates, which are all at most a little beyond the image."""
    values = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not -ROUNDING <= value <= 1 + ROUNDING:
            if math.isnan(value):
                raise ValueError(f"expected numbers, got {word[:40]!r}")
            raise ValueError(
                f"expected fractions of the image's size from 0 to 1, got {word[:40]}; of pixels, divide x by the "
                "width and y by the height,"
            )
        values.append(value)
    return values


def _area(across: Sequence[float], down: Sequence[float]) -> float:
    """Area of a polygon, by the shoelace formula."""
    forward: float = sum(map(mul, across, [*down[1:], down[0]]))
    backward: float = sum(map(mul, down, [*across[1:], across[0]]))
    return abs(forward - backward) / 2
