"""From the objects of an image to samples: which of them the model should see, and as what."""

import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from attnlab.data.base import Entry, FileSet, as_id
from attnlab.data.boxes_table import NAMES, read_names
from attnlab.data.masks import BoxMask, MaskSource, UnionMask
from attnlab.errors import Unusable, UserError, nearest
from attnlab.stores import StorePath


class Object(NamedTuple):
    """An object of an image.

    Attributes:
        label: Index of its class.
        box: Half-open pixels x0, y0, x1, y1; None where only its mask or its class is known.
        mask: Its mask, if it has one.
        area: Of the mask in the boxes' unit, where the file says it; else the box's counts.
    """

    label: int
    box: Sequence[float] | None = None
    mask: MaskSource | None = None
    area: float | None = None

    @property
    def size(self) -> float | None:
        """Pixels that it covers, by which the largest is found; None where neither its area nor its box is known."""
        if self.area is not None or self.box is None:
            return self.area
        x0, y0, x1, y1 = self.box
        return max(0.0, x1 - x0) * max(0.0, y1 - y0)  # 0 where a number is missing, which is NaN


class Annotated(NamedTuple):
    """An image with its objects, in the order of the file.

    `boxes_size` and `notes` as of `Entry`.
    """

    path: Path | StorePath
    objects: Sequence[Object]
    boxes_size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()


def file_set(
    name: str,
    classes: Sequence[str],
    images: Mapping[str, Annotated | Unusable],
    label: str | None,
    *,
    upright: bool = True,
    box_corners: str | None = None,
    strict_aspect: bool = False,
) -> FileSet:
    """The samples of annotated images, by name, as an image set.

    Args:
        name: Of the data set.
        classes: Their names in the order of the labels.
        images: By their names; one that cannot be used comes with the reason.
        label: "largest": one sample an image, of the class of the largest object, of several as large the first, whose
            ground truth is all objects of that class; "each": a sample an object, whose name ends in #k, k being the
            object's place from 0 on; None: the same as "largest", for images whose objects are all of one class.
        upright: As of `FileSet`, as are `box_corners` and `strict_aspect`.
    """
    found = [(as_id(f"{key}{end}"), one) for key, image in images.items() for end, one in _chosen(image, label)]
    boxes = [[] if isinstance(one, Unusable) else one.boxes() for _, one in found]
    # one tensor of all boxes, cut up: making one an image takes ten times as long
    together = torch.tensor([box for some in boxes for box in some], dtype=torch.float64).reshape(-1, 4)
    cut = torch.split(together, list(map(len, boxes))) if boxes else ()
    entries = [one if isinstance(one, Unusable) else one.entry(some) for (_, one), some in zip(found, cut, strict=True)]
    return FileSet(
        name=name,
        classes=classes,
        image_ids=[image_id for image_id, _ in found],
        entries=entries,
        has_boxes=len(together) > 0 or any(isinstance(entry, Entry) and entry.mask for entry in entries),
        box_corners=box_corners,
        upright=upright,
        strict_aspect=strict_aspect,
    )


class _Chosen(NamedTuple):
    """An image and those of its objects that are a sample, all of one class."""

    image: Annotated
    objects: Sequence[Object]

    def boxes(self) -> list[Sequence[float]]:
        """Their boxes; none where an object has a mask alone: the frame around the union of masks is taken then."""
        boxes = [one.box for one in self.objects if one.box is not None]
        return [] if len(boxes) < len(self.objects) and any(one.mask for one in self.objects) else boxes

    def entry(self, boxes: Tensor) -> Entry:
        """The sample with its boxes; an object without a mask beside others with one counts by its box."""
        mask = self.objects[0].mask
        if len(self.objects) > 1 and any(one.mask for one in self.objects):
            found = (one.mask or (BoxMask(one.box, self.image.boxes_size) if one.box else None) for one in self.objects)
            mask = UnionMask([part for part in found if part])
        return Entry(self.image.path, self.objects[0].label, boxes, self.image.boxes_size, mask, self.image.notes)


def _chosen(image: Annotated | Unusable, label: str | None) -> Iterator[tuple[str, _Chosen | Unusable]]:
    """The objects of each sample of an image, with what its name ends in."""
    if isinstance(image, Unusable):
        yield "", image
    elif not image.objects:
        yield "", Unusable("no object in its annotation")
    elif label == "each":
        for place, one in enumerate(image.objects):
            yield f"#{place}", _Chosen(image, [one])
    elif len(image.objects) == 1 or (count := len({one.label for one in image.objects})) == 1:
        yield "", _Chosen(image, image.objects)
    elif label is None:
        reason = f"boxes of {count} labels: which one the model should see is not known"
        yield "", Unusable(reason, "; --label largest or each says it")
    elif any(one.size is None for one in image.objects):
        yield "", Unusable(f"objects of {count} labels, one without a box, so which is the largest is not known")
    else:
        largest = max(image.objects, key=lambda one: one.size or 0.0)
        yield "", _Chosen(image, [one for one in image.objects if one.label == largest.label])


def numbered(
    names: Sequence[str],
    folders: Sequence[Path | StorePath],
    where: object,
    needed: Collection[str] | None = None,
) -> tuple[dict[str, int], list[str]]:
    """Class index of each name, and all names: in their order here, or in that of a classes.txt in one of the folders.

    Args:
        names: Those of the data, each once.
        folders: In which a classes.txt may lie; the first counts.
        where: What names them, for errors.
        needed: Those that objects have, by default all; classes.txt may lack the others.

    Raises:
        UserError: If classes.txt lacks a name that is needed, or lists it twice.
    """
    listed = next((read_names(folder / NAMES) for folder in folders if (folder / NAMES).is_file()), None)
    if listed is None:
        return {name: index for index, name in enumerate(names)}, list(names)
    places: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(listed):
        places[name].append(index)
    needed = names if needed is None else needed
    for name in needed:
        if len(places.get(name, ())) != 1:
            times = f"{len(places[name])} times" if name in places else "not at all"
            hint = "" if name in places else nearest(name, listed)
            raise UserError(f"expected {NAMES} to list each class of {where} once, got {name!r} {times}{hint}")
    return {name: places[name][0] for name in needed}, listed


def warn_of_numbers(names: Sequence[str], where: object) -> None:
    """Warn of numbers among names that are sorted as text: 0, 1, 10, 2."""
    if all(name.isascii() and name.isdecimal() for name in names) and list(names) != sorted(names, key=int):
        place = next(index for index, name in enumerate(sorted(names, key=int)) if name != names[index])
        warnings.warn(
            f"classes of {where} have numbers for names and are sorted as text: label {place} is class "
            f"{names[place]!r}; a {NAMES} that lists them by number has other labels",
            stacklevel=3,
        )


def check_corners(boxes: Sequence[Sequence[float]], sizes: Sequence[tuple[int, int]], where: object) -> None:
    """Refuse corners that stand where x, y, width, height should: many reach beyond, and all fit, read as corners.

    Args:
        boxes: x, y, x + width, y + height of each.
        sizes: Height and width of the image of each.
        where: What they stand in, for the error.
    """
    if not boxes:
        return
    x0, y0, x1, y1 = np.array(boxes, float).T
    height, width = np.array(sizes, float).T
    beyond = (x1 > width + 1) | (y1 > height + 1)
    corners = (x1 - x0 > x0) & (y1 - y0 > y0) & (x1 - x0 <= width + 1) & (y1 - y0 <= height + 1)
    if beyond.mean() > 0.1 and corners.all():
        left, top, right, bottom = boxes[int(beyond.argmax())]
        raise UserError(
            f"expected boxes x, y, width, height in {where}, got {left}, {top}, {right - left}, {bottom - top} and "
            "others that reach beyond their images; all fit as corners x0, y0, x1, y1: subtract the first two"
        )
