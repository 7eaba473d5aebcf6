"""Anyone's images: a folder with a boxes.csv."""

from pathlib import Path, PurePosixPath

import pandas as pd
import torch

from attnlab.data.base import Entry, FileSet, list_images, require_root
from attnlab.errors import Unusable, UserError

BOXES = "boxes.csv"
NAMES = "classes.txt"
CORNERS = ["x0", "y0", "x1", "y1"]
COLUMNS = ["image", "label", *CORNERS]


def folder(root: Path | None, split: str) -> FileSet:
    """Open a folder of images with a boxes.csv of the columns image,label,x0,y0,x1,y1: one row per box.

    `image` is a path below the folder that holds boxes.csv, `label` a class index, or a class name if a classes.txt
    beside it lists the names in the order of the indices. A row with empty coordinates gives an image a label and no
    box. The folder is ROOT/SPLIT where that holds a boxes.csv, else ROOT.

    Raises:
        UserError: If boxes.csv is missing, or lacks a column, or a label is no class.
    """
    root = require_root(root, "folder", f"images and {BOXES}")
    here = root / split if has_split(root, split) else root
    if not (here / BOXES).is_file():
        others = sorted(path.parent.name for path in root.glob(f"*/{BOXES}"))
        hint = f"; --split {' or '.join(others)} has one" if others else f" with the columns {','.join(COLUMNS)}"
        raise UserError(f"no boxes: expected {root / BOXES} or {root / split / BOXES}{hint}")
    table = _read_table(here / BOXES)
    names = next((_read_names(path) for path in (here / NAMES, root / NAMES) if path.is_file()), [])
    table["label"] = [_label(image, value, names) for image, value in zip(table["image"], table["label"], strict=True)]
    entries: dict[str, Entry | Unusable] = {
        str(image): _entry(here / str(image), rows) for image, rows in table.groupby("image", sort=True)
    }
    for path in list_images(here):
        entries.setdefault(path.relative_to(here).as_posix(), Unusable(f"no row in {BOXES}"))
    if not entries:
        raise UserError(f"no images: {here / BOXES} has no rows, and no image lies beside it")
    image_ids = sorted(entries)
    return FileSet("folder", names, image_ids, [entries[image_id] for image_id in image_ids])


def has_split(root: Path, split: str) -> bool:
    """Whether a folder tells that split apart from others."""
    return (root / split / BOXES).is_file()


def _read_table(path: Path) -> pd.DataFrame:
    try:
        # only coordinates may be empty: a class may be called "null"
        table = pd.read_csv(
            path,
            dtype={"image": str, "label": str},
            skipinitialspace=True,
            keep_default_na=False,
            na_values={corner: ["", "nan", "NaN"] for corner in CORNERS},
        )
        missing = [column for column in COLUMNS if column not in table]
        if missing:
            raise UserError(f"expected the columns {','.join(COLUMNS)} in {path}, {', '.join(missing)} missing")
        if not isinstance(table.index, pd.RangeIndex):  # pandas made an index of them and moved all columns
            raise UserError(f"expected as many values in a row of {path} as there are columns, got more")
        table[["image", "label"]] = table[["image", "label"]].fillna("")  # rows that end early
        table["image"] = [PurePosixPath(image.strip()).as_posix() for image in table["image"]]  # ./a.jpg is a.jpg
        if (table["image"] == ".").any():
            line = int((table["image"] == ".").argmax()) + 2
            raise UserError(f"expected each row of {path} to name an image, got none in line {line}")
        return table.astype(dict.fromkeys(CORNERS, "float64"))
    except (ValueError, pd.errors.ParserError) as error:
        raise error if isinstance(error, UserError) else UserError(f"cannot read {path}: {error}") from None


def _read_names(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except ValueError as error:
        raise UserError(f"expected {path} to be UTF-8 text, a class name a line: {error}") from None


def _label(image: str, value: str, names: list[str]) -> int:
    value = value.strip()
    if value in names:
        return names.index(value)
    if value.isdecimal() and (not names or int(value) < len(names)):
        return int(value)
    known = f"one of the {len(names)} names in {NAMES} or an index" if names else f"a class index (no {NAMES} here)"
    raise UserError(f"expected each label in {BOXES} to be {known}, got {value!r} for image {image}")


def _entry(path: Path, rows: pd.DataFrame) -> Entry | Unusable:
    if not path.is_file():
        return Unusable(f"named in {BOXES}, but there is no such file")
    labels = rows["label"].unique()
    if len(labels) > 1:
        return Unusable(f"boxes of {len(labels)} labels: which one the model should see is not known")
    # a box that lacks some of its coordinates stays, to be counted among the dropped ones
    boxes = torch.tensor(rows[CORNERS].dropna(how="all").to_numpy(), dtype=torch.float64)
    return Entry(path, int(labels[0]), boxes.reshape(-1, 4))
