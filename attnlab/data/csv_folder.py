"""Anyone's images: a folder with a boxes.csv."""

import os
import posixpath
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from attnlab.data.base import UNLABELLED, FileSet, channels_of, is_image
from attnlab.data.boxes_table import BOXES, COLUMNS, NAMES, Box, read_boxes_table, read_labels, read_names
from attnlab.data.file_list import list_files
from attnlab.data.masks import MaskFile
from attnlab.data.objects import Annotated, Object, file_set
from attnlab.errors import Unusable, UserError
from attnlab.stores import StorePath


def folder(root: Path | StorePath, split: str, label: str | None = None) -> FileSet:
    """Open a folder of images with a boxes.csv of the columns image,label,x0,y0,x1,y1,mask: one row per object.

    `image` is a path below the folder that holds boxes.csv. `label` is a class index in every row, or in every row a
    name that a classes.txt lists, beside it or in ROOT, in the order of the indices; or it is empty in all of them: the
    images have no labels. A row with empty coordinates gives
    an image a label and no box; so does a table without the four columns. `mask`, which may be absent or empty, is the
    path of a picture of the image's size, whose pixels that are not 0 belong to the object. The folder is ROOT/SPLIT
    where that holds a boxes.csv, else ROOT.

    Args:
        root: The folder.
        split: Name of a subfolder, which need not be there.
        label: A name in LABEL_RULES; with None an image of several labels is left out.
    """
    here = root / split if has_split(root, split) else root
    if not (here / BOXES).is_file() and not (here / BOXES).is_dir():  # a folder is refused as what it is
        others = sorted(path.parent.name for path in root.glob(f"*/{BOXES}"))
        hint = f"; --split {' or '.join(others)} has one" if others else f" with the columns {','.join(COLUMNS)}"
        raise UserError(f"no boxes: expected {root / BOXES} or {root / split / BOXES}{hint}")
    table = read_boxes_table(here / BOXES)
    files = set(list_files(here))
    images, masks = ([_with_slashes(name, files) for name in names] for names in (table.images, table.masks))
    names = next((read_names(path) for path in (here / NAMES, root / NAMES) if path.is_file()), [])
    if any(map(str.strip, table.labels)):
        labels = read_labels(table.labels, images, names, table.heading)
    else:
        labels = [UNLABELLED] * len(images)
    found = _annotated(here, images, labels, table.boxes, masks, files, label)
    for name in filter(is_image, files.difference(found, masks)):
        found[name] = Unusable(f"no row in {BOXES}")
    if not found:
        raise UserError(f"no images: {here / BOXES} has no rows, and no image lies beside it")
    images_of = file_set("folder", names, dict(sorted(found.items())), label)
    return replace(images_of, channels=channels_of(images_of.entries))


def _with_slashes(name: str, files: Collection[str]) -> str:
    """A path with slashes, unless a file is called what a table from Windows would write."""
    return posixpath.normpath(name.replace("\\", "/")) if "\\" in name and name not in files else name


def _annotated(
    here: Path | StorePath,
    images: list[str],
    labels: list[int],
    boxes: Sequence[Box | None],
    masks: Sequence[str],
    files: Collection[str],
    rule: str | None,
) -> dict[str, Annotated | Unusable]:
    """Each image of the table with its objects, one a row."""

    def absent(name: str) -> bool:
        # files are listed once; what is not among them may still lie behind a linked folder
        return name not in files and (isinstance(here, StorePath) or not os.path.isfile(here / name))

    objects_of: dict[str, list[Object]] = {image: [] for image in images}
    missing = dict[str, str]()  # masks, by their image
    times = Counter(zip(images, masks, strict=False))
    shared = {image: mask for (image, mask), count in times.items() if mask and count > 1}
    for image, label, box, mask in zip(images, labels, boxes, masks or [""] * len(images), strict=True):
        objects_of[image].append(Object(label, box, MaskFile(here / mask) if mask else None))
        if mask and absent(mask):
            missing[image] = mask
    found: dict[str, Annotated | Unusable] = {}
    for image, objects in objects_of.items():
        if absent(image):
            found[image] = Unusable(f"named in {BOXES}, but there is no such file")
        elif image in shared and (rule == "each" or len({one.label for one in objects}) > 1):
            found[image] = Unusable(
                f"its mask {shared[image]} stands in several rows, so which part is whose is not known"
            )
        elif image in missing:
            found[image] = Unusable(f"its mask {missing[image]} is named in {BOXES}, but there is no such file")
        else:
            found[image] = Annotated(here / image, objects)
    return found


def has_split(root: Path | StorePath, split: str) -> bool:
    """Whether a split has a boxes.csv of its own."""
    return (root / split / BOXES).is_file()
