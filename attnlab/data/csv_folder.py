"""Anyone's images: a folder with a boxes.csv."""

import os
import posixpath
from collections.abc import Collection
from pathlib import Path

import torch

from attnlab.data.base import Entry, FileSet, as_id, is_image, list_files
from attnlab.data.boxes_table import BOXES, COLUMNS, NAMES, Box, BoxesTable, read_boxes_table, read_labels, read_names
from attnlab.errors import Unusable, UserError
from attnlab.stores import StorePath


def folder(root: Path | StorePath, split: str) -> FileSet:
    """Open a folder of images with a boxes.csv of the columns image,label,x0,y0,x1,y1: one row per box.

    `image` is a path below the folder that holds boxes.csv. `label` is a class index in every row, or in every row a
    name that a classes.txt lists, beside it or in ROOT, in the order of the indices. A row with empty coordinates gives
    an image a label and no box; so does a table without the four columns. The folder is ROOT/SPLIT where that holds a
    boxes.csv, else ROOT.
    """
    here = root / split if has_split(root, split) else root
    if not (here / BOXES).is_file() and not (here / BOXES).is_dir():  # a folder is refused as what it is
        others = sorted(path.parent.name for path in root.glob(f"*/{BOXES}"))
        hint = f"; --split {' or '.join(others)} has one" if others else f" with the columns {','.join(COLUMNS)}"
        raise UserError(f"no boxes: expected {root / BOXES} or {root / split / BOXES}{hint}")
    table = read_boxes_table(here / BOXES)
    files = set(list_files(here))
    # with slashes, unless a file is called what a table from Windows would write
    images = [
        posixpath.normpath(name.replace("\\", "/")) if "\\" in name and name not in files else name
        for name in table.images
    ]
    names = next((read_names(path) for path in (here / NAMES, root / NAMES) if path.is_file()), [])
    labels = read_labels(table.labels, images, names, table.heading)
    entries = _entries(here, images, labels, table, files)
    for name in filter(is_image, files.difference(entries)):
        entries[name] = Unusable(f"no row in {BOXES}")
    if not entries:
        raise UserError(f"no images: {here / BOXES} has no rows, and no image lies beside it")
    ordered = sorted(entries)
    return FileSet(
        name="folder",
        classes=names,
        image_ids=[as_id(name) for name in ordered],
        entries=[entries[name] for name in ordered],
        has_boxes=any(box is not None for box in table.boxes),
        upright=True,
    )


def _entries(
    here: Path | StorePath, images: list[str], labels: list[int], table: BoxesTable, files: Collection[str]
) -> dict[str, Entry | Unusable]:
    """An entry for each image of the table."""
    labels_of: dict[str, list[int]] = {image: [] for image in images}
    boxes_of: dict[str, list[Box]] = {image: [] for image in images}
    for image, label, box in zip(images, labels, table.boxes, strict=True):
        if label not in labels_of[image]:
            labels_of[image].append(label)
        if box is not None:
            boxes_of[image].append(box)
    # one tensor of all boxes, cut up: making one an image takes ten times as long
    together = torch.tensor([box for boxes in boxes_of.values() for box in boxes], dtype=torch.float64).reshape(-1, 4)
    entries: dict[str, Entry | Unusable] = {}
    for image, boxes in zip(boxes_of, torch.split(together, [len(boxes) for boxes in boxes_of.values()]), strict=True):
        path = here / image
        # files are listed once; what is not among them may still lie behind a linked folder
        if image not in files and (isinstance(path, StorePath) or not os.path.isfile(path)):
            entries[image] = Unusable(f"named in {BOXES}, but there is no such file")
        elif (count := len(labels_of[image])) > 1:
            entries[image] = Unusable(f"boxes of {count} labels: which one the model should see is not known")
        else:
            entries[image] = Entry(path, labels_of[image][0], boxes)
    return entries


def has_split(root: Path | StorePath, split: str) -> bool:
    """Whether a split has a boxes.csv of its own."""
    return (root / split / BOXES).is_file()
