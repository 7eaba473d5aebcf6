"""Anyone's images: a folder with a boxes.csv."""

from pathlib import Path

import pandas as pd
import torch

from attnlab.data.base import Entry, FileSet, list_images, require_root
from attnlab.errors import Unusable, UserError

COLUMNS = ["image", "label", "x0", "y0", "x1", "y1"]


def folder(root: Path | None, split: str) -> FileSet:
    """Open a folder of images with a boxes.csv of the columns image,label,x0,y0,x1,y1: one row per box.

    `image` is a path below the folder that holds boxes.csv, `label` a class index, or a class name if a classes.txt
    beside it lists the names in the order of the indices. A row with empty coordinates gives an image a label and no
    box. The folder is ROOT/SPLIT where that holds a boxes.csv, else ROOT.

    Raises:
        UserError: If boxes.csv is missing, or lacks a column, or a label is no class.
    """
    root = require_root(root, "folder", "images and boxes.csv")
    here = root / split if (root / split / "boxes.csv").is_file() else root
    table = _read_table(here / "boxes.csv")
    names_file = next((path for path in (here / "classes.txt", root / "classes.txt") if path.is_file()), None)
    names = [line.strip() for line in names_file.read_text().splitlines() if line.strip()] if names_file else []
    table["label"] = [_label(value, names) for value in table["label"]]
    entries: dict[str, Entry | Unusable] = {
        str(image): _entry(here / str(image), rows) for image, rows in table.groupby("image", sort=True)
    }
    for path in list_images(here):
        entries.setdefault(path.relative_to(here).as_posix(), Unusable("no row in boxes.csv"))
    image_ids = sorted(entries)
    return FileSet("folder", names, image_ids, [entries[image_id] for image_id in image_ids])


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"no boxes: expected {path} with the columns {','.join(COLUMNS)}")
    try:
        table = pd.read_csv(path, dtype={"image": str, "label": str}, skipinitialspace=True)
        missing = [column for column in COLUMNS if column not in table]
        if missing:
            raise UserError(f"expected the columns {','.join(COLUMNS)} in {path}, {', '.join(missing)} missing")
        return table.astype(dict.fromkeys(COLUMNS[2:], "float64"))
    except (ValueError, pd.errors.ParserError) as error:
        raise error if isinstance(error, UserError) else UserError(f"cannot read {path}: {error}") from None


def _label(value: str, names: list[str]) -> int:
    if value in names:
        return names.index(value)
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    known = f"a name in classes.txt ({len(names)} names)" if names else "a class index (a name needs a classes.txt)"
    raise UserError(f"expected each label in boxes.csv to be {known}, got {value!r}")


def _entry(path: Path, rows: pd.DataFrame) -> Entry | Unusable:
    if not path.is_file():
        return Unusable("named in boxes.csv, but there is no such file")
    labels = rows["label"].unique()
    if len(labels) > 1:
        return Unusable(f"boxes of {len(labels)} labels: which one the model should see is not known")
    boxes = torch.tensor(rows[COLUMNS[2:]].dropna().to_numpy(), dtype=torch.float64).reshape(-1, 4)
    return Entry(path, int(labels[0]), boxes)
