"""Data sets of Hugging Face's hub, and folders of the same library, through `datasets`."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.compute

from attnlab.data.base import FileSet
from attnlab.data.hf_columns import Columns, columns_of, corners_of, datasets
from attnlab.data.masks import MaskFile
from attnlab.data.objects import Annotated, Object, file_set, numbered, warn_of_numbers
from attnlab.errors import Unusable, UserError, check_one_of
from attnlab.failures import one_line
from attnlab.stores import StorePath
from attnlab.stores.store import Store

Tables = Mapping[str, Any]
"""Split -> its `datasets.Dataset`."""


@dataclass(frozen=True, eq=False)
class Rows(Store):
    """A column of pictures, whose bytes stay in the library's file on the disk."""

    column: Any = field(repr=False, default=None)  # a `datasets.Dataset` of it alone


@dataclass(frozen=True)
class Cell(StorePath):
    """One picture of a column, as a file in a store; `inner` is its row."""

    size: int = 0  # bytes

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"row {self.inner}"

    def is_file(self) -> bool:
        """Whether it is there, which it is."""
        return True

    def stat(self) -> SimpleNamespace:
        """Size as `st_size`."""
        return SimpleNamespace(st_size=self.size)

    def read_bytes(self) -> bytes:
        """The encoded picture."""
        assert isinstance(self.store, Rows)
        (cell,) = self.store.column[int(self.inner)].values()
        content: bytes = cell["bytes"]
        return content


def hf(name: str, _root: Path, split: str, label: str | None) -> FileSet:
    """Open a split of `hf:NAME[:CONFIG][@SPLIT]`, NAME being an id of the hub or a folder.

    A folder is one of `save_to_disk`, or one that `datasets.load_dataset` reads, such as of images in a folder per
    class, or of parquet files; no code that comes with data is run. `columns_of` finds the columns. A `ClassLabel`
    numbers the classes, of labels that are texts their alphabetical order in all splits does; a classes.txt in the
    folder gives another order. Pictures are decoded as those of every data set, with EXIF's turn.

    Raises:
        UserError: If it cannot be had, has no such split, or can be read in several ways.
    """
    text = name.partition(":")[2]
    stem, mark, behind = text.rpartition("@")
    place = stem if mark and stem and "/" not in behind else text
    tables = _tables(name, place)
    check_one_of(split, tables, f"--split of {name}")
    table = tables[split]
    if table._indices is not None:  # of a selection, whose rows lie elsewhere in the file
        table = table.flatten_indices()
    columns = columns_of(table.features, name)
    named, values = _labels(tables, split, columns)
    index_of, classes = numbered(named, [Path(place)] if Path(place).is_dir() else [], name) if named else ({}, [])
    if classes == named:
        index_of = {}
        if columns.names is None:
            warn_of_numbers(classes, name)
    pictures, masks = (_cells(table, column) for column in (columns.image, columns.mask))
    if columns.boxes:
        of_images = _objects(table, columns, values, pictures, name)
    else:
        found = [MaskFile(mask, of_one=True) if mask else None for mask in masks] or [None] * len(values)
        of_images = [[Object(one, None, mask)] for one, mask in zip(values, found, strict=True)]
    images: dict[str, Annotated | Unusable] = {}
    for image_id, picture, objects in zip(
        _ids(table, columns, split, pictures, place), pictures, of_images, strict=True
    ):
        if picture is None:
            images[image_id] = Unusable("no image in its row")
        elif any(one.label is None or one.label < 0 for one in objects):
            images[image_id] = Unusable("no label: none, or one below 0, in its row")
        else:
            mapped = [one._replace(label=index_of[named[one.label]]) for one in objects] if index_of else objects
            images[image_id] = Annotated(picture, mapped)
    return file_set(name, classes, images, label or "largest")


def _tables(name: str, place: str) -> Tables:
    """The splits of a folder or of a data set of the hub."""
    folder = Path(place)
    try:
        if (folder / "dataset_dict.json").is_file():
            return dict(datasets.load_from_disk(place))
        if (folder / "state.json").is_file():
            table = datasets.load_from_disk(place)
            return {str(table.split or "train"): table}
        if place.startswith((".", "/", "~")) and not folder.is_dir():
            raise UserError(f"expected an id of the hub or an existing folder behind hf:, got {place!r}")
        where, _, config = (place, "", "") if folder.is_dir() else place.partition(":")
        return dict(datasets.load_dataset(where, config or None))
    except UserError:
        raise
    except Exception as error:  # of the hub's client, of builders, of the network: many kinds
        hint = "" if folder.exists() else f"; no folder is called {place} here, so it was taken for an id of the hub"
        raise UserError(f"{name} could not be had from datasets ({one_line(error)}){hint}") from None


def _labels(tables: Tables, split: str, columns: Columns) -> tuple[list[str], list[Any]]:
    """Names of the classes, empty where labels are bare indices, and the label of each row, or those of its objects."""
    if columns.names is not None:
        return list(columns.names), columns.values(tables[split])
    values = columns.values(tables[split])
    texts = {one for row in values for one in (row if isinstance(row, list) else [row]) if isinstance(one, str)}
    if not texts:
        return [], values
    for other, table in tables.items():
        if other != split:
            rows = columns.values(table)
            texts |= {one for row in rows for one in (row if isinstance(row, list) else [row]) if isinstance(one, str)}
    names = sorted(texts)
    place = {text: index for index, text in enumerate(names)}
    found = [[place.get(one) for one in row] if isinstance(row, list) else place.get(row) for row in values]
    return names, found


def _cells(table: Any, name: str | None) -> Sequence[Path | Cell | None]:
    """The picture of each row: in the library's file, or on the disk where that names it alone."""
    if name is None:
        return []
    column = table.select_columns([name]).cast_column(name, datasets.Image(decode=False))
    rows = Rows(Path(name), "rows", {}, column)
    sizes, paths = [], []
    for chunk in column.data.column(name).chunks:  # lengths alone are read of the bytes
        sizes += pyarrow.compute.binary_length(pyarrow.compute.struct_field(chunk, "bytes")).to_pylist()
        paths += pyarrow.compute.struct_field(chunk, "path").to_pylist()
    return [
        Cell(rows, str(row), size) if size is not None else Path(path) if path else None
        for row, (size, path) in enumerate(zip(sizes, paths, strict=True))
    ]


def _ids(table: Any, columns: Columns, split: str, pictures: Sequence[Path | Cell | None], place: str) -> Iterable[str]:
    """Names of the rows: of a column of file names if they differ, or of files below the folder; else numbers."""
    if columns.files:
        names = table[columns.files][:]
        if all(names) and len(set(names)) == len(names):
            return list(map(str, names))
    folder = Path(place).resolve()
    if len({picture for picture in pictures if isinstance(picture, Path)}) == len(pictures):  # each another file
        paths = [str(picture) for picture in pictures]
        if all(path.startswith(f"{folder}{os.sep}") for path in paths):
            return [path.removeprefix(f"{folder}{os.sep}").replace(os.sep, "/") for path in paths]
    return [f"{split}-{row:05d}" for row in range(len(pictures))]


def _objects(
    table: Any, columns: Columns, labels: Sequence[Any], pictures: Sequence[Path | Cell | None], name: str
) -> list[list[Object]]:
    """The objects of each row."""
    boxes = columns.boxes_of(table)
    corners = corners_of(boxes, columns.sizes_of(table, pictures, boxes), name)
    objects = []
    for row, (some, of_row) in enumerate(zip(boxes, labels, strict=True)):
        if len(some) != len(of_row):
            raise UserError(f"expected a label for each box of {name}, got {len(some)} and {len(of_row)} in row {row}")
        read = corners(np.array(some, float).reshape(-1, 4)).tolist()
        objects.append([Object(one, box) for one, box in zip(of_row, read, strict=True)])
    return objects
