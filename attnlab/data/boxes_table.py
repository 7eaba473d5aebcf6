"""The tables of a user's folder: boxes.csv under the headings of many tools, and classes.txt, which names labels."""

import math
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from attnlab.data.text import SEPARATORS, read_rows, read_text
from attnlab.errors import UserError
from attnlab.stores import StorePath

BOXES, NAMES = "boxes.csv", "classes.txt"
COLUMNS = ("image", "label", "x0", "y0", "x1", "y1")
IMAGES = ("image", "filename", "file_name", "path")
#: headings of labels -> the one possible reading of the column; "" where the values decide
LABELS = {"label": "", "class": "", "label_name": "name", "class_name": "name", "label_index": "index"}
#: headings of left, top, right, bottom; whatever they are called, they are read as half-open pixels
CORNERS = (
    COLUMNS[2:],
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
#: headings of paths of masks
MASKS = ("mask", "mask_path")
#: headings of boxes in a form that is not read
OTHER_FORMS = ("x", "y", "w", "h", "cx", "cy", "bbox", "box", "x_center", "y_center")

Box = list[float]


class BoxesTable(NamedTuple):
    """The rows of a boxes.csv; a box is half-open pixels x0, y0, x1, y1, NaN where a number is missing."""

    images: list[str]  # paths below the folder, as written but for `./` and surrounding spaces
    labels: list[str]  # as written
    boxes: list[Box | None]  # None for a row without any number
    masks: list[str]  # paths as of `images`; "" for a row without one, empty without the column
    heading: str  # of the column of labels


def read_boxes_table(path: Path | StorePath) -> BoxesTable:
    """Read a boxes.csv, and refuse one that lacks a column, names no image below the folder, or holds no numbers."""
    separator, rows = read_rows(path)
    _, first = next(rows, (0, []))
    headings = [heading.strip().lower() for heading in first]
    image, label, corners, mask = _columns(path, headings)
    table = BoxesTable([], [], [], [], headings[label])
    for number, row in rows:
        line = f"line {number} of {path}"
        if len(row) > len(headings):
            raise UserError(f"expected as many values in {line} as there are columns, got more")
        other = next((mark for mark in SEPARATORS if mark in row[0]), None) if len(row) == 1 < len(headings) else None
        if other:  # which the heading does not have: one value that is meant as several
            raise UserError(f"expected {separator!r} between the values of {line}, as in its heading, got {other!r}")
        row += [""] * (len(headings) - len(row))  # rows that end early
        words = [row[corner].strip() for corner in corners]
        if separator != ",":  # then commas are decimal ones
            words = [word.replace(",", ".") for word in words]
        table.images.append(_below(row[image], line, "images"))
        if mask is not None:
            table.masks.append(_below(row[mask], line, "masks") if row[mask].strip() else "")
        table.labels.append(row[label])
        table.boxes.append(_box(words, line))
    check_pixels((value for box in table.boxes for value in box or ()), path)
    return table


def check_pixels(values: Iterable[float], where: object) -> None:
    """Refuse coordinates of boxes that are all from 0 to 1: fractions of the images' sizes."""
    values = list(values)
    if values and all(0 <= value <= 1 or math.isnan(value) for value in values):
        raise UserError(
            f"expected boxes in pixels, got coordinates from 0 to 1 alone in {where}; if they are fractions of the "
            "images' sizes, multiply x by the width and y by the height"
        )


def _columns(path: Path | StorePath, headings: Sequence[str]) -> tuple[int, int, list[int], int | None]:
    """Places of the image, the label, the four corners and the mask; no corners where the table has no boxes."""
    twice = next((heading for heading in headings if heading and headings.count(heading) > 1), None)
    if twice is not None:
        raise UserError(f"expected each column of {path} once, got {twice!r} {headings.count(twice)} times")
    images, labels, masks = ([heading for heading in headings if heading in known] for known in (IMAGES, LABELS, MASKS))
    corners = [names for names in CORNERS if set(names) <= set(headings)]
    boxless = not any(heading in known for known in (*CORNERS, OTHER_FORMS) for heading in headings)
    missing = [name for name, known in zip(COLUMNS, (images, labels), strict=False) if not known]
    missing += [] if corners or boxless else [name for name in COLUMNS[2:] if name not in headings]
    if missing:
        hint = " (boxes are corners in pixels: left, top, right, bottom)" if set(headings) & set(OTHER_FORMS) else ""
        raise UserError(f"expected the columns {','.join(COLUMNS)} in {path}{hint}; {', '.join(missing)} missing")
    for alike in (images, labels, masks, [", ".join(names) for names in corners]):
        if len(alike) > 1:
            raise UserError(f"expected one of the columns {' and '.join(alike)} in {path}, got {len(alike)}")
    places = [headings.index(name) for names in corners for name in names]
    mask = headings.index(masks[0]) if masks else None
    return headings.index(images[0]), headings.index(labels[0]), places, mask


def _below(text: str, line: str, what: str) -> str:
    """A path below the folder; refuses one that leads elsewhere, or none."""
    text = text.strip()
    parts = text.replace("\\", "/").split("/")
    if ".." in parts or (text and not parts[0]) or re.match("[A-Za-z]:", text):  # the last: a drive of Windows
        raise UserError(f"expected {what} below the folder of boxes.csv, got {text!r} in {line}")
    path = posixpath.normpath(text)  # ./a.jpg is a.jpg; a pathlib object takes ten times as long
    if path == ".":
        raise UserError(f"expected each row to name an image, got none in {line}")
    return path


def _box(words: Sequence[str], line: str) -> Box | None:
    """A box; a number that is missing is NaN, so that the box is counted among those dropped; None without any."""
    values = []
    for word in words:
        try:
            value = float(word) if word else math.nan
        except ValueError:
            value = math.inf
        if math.isinf(value):
            shown = word if len(word) <= 40 else f"{word[:40]}..."
            raise UserError(f"expected coordinates that are numbers, got {shown!r} in {line}")
        values.append(value)
    return None if all(map(math.isnan, values)) else values


def read_names(path: Path | StorePath) -> list[str]:
    """Class names, one a line, in the order of their indices."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_labels(values: Sequence[str], images: Sequence[str], names: Sequence[str], heading: str) -> list[int]:
    """Class index of each value of a column; all of them are read as names, or all as indices, never in two ways.

    `images` are what each row is about, for errors; `names` are empty where there are none.
    """
    if not values:
        return []
    wanted = LABELS[heading]
    texts = {value: value.strip() for value in dict.fromkeys(values)}
    index_of = {name: index for index, name in reversed(list(enumerate(names)))}
    by_name = {value: index_of.get(text) for value, text in texts.items()}
    by_index = {value: class_index(text, len(names)) for value, text in texts.items()}
    readings: dict[str, dict[str, int | None]] = {}
    if wanted != "index" and names:
        readings[f"one of the {len(names)} names in {NAMES}"] = by_name
    if wanted != "name":
        readings[f"a class index below {len(names)}" if names else f"a class index (no {NAMES} here)"] = by_index
    if not readings:
        raise UserError(
            f"expected {NAMES}, which numbers the names of the column label_name, beside the table or in --root"
        )
    complete = [reading for reading in readings.values() if None not in reading.values()]
    if not complete:
        # the reading that more values fit is the one that was meant
        meant = min(readings.values(), key=lambda reading: list(reading.values()).count(None))
        value = next(value for value in values if meant[value] is None)
        shown = texts[value] if len(texts[value]) <= 40 else f"{texts[value][:40]}..."
        raise UserError(
            f"expected each label to be {', or each to be '.join(readings)}, "
            f"got {shown!r} for image {images[values.index(value)]}"
        )
    if len(complete) > 1 and by_name != by_index:
        value = next(value for value in texts if by_name[value] != by_index[value])
        first, other = by_name[value], by_index[value]
        raise UserError(
            f"expected labels with one meaning, got {texts[value]!r} for image {images[values.index(value)]}, which as "
            f"a name in {NAMES} is class {first} and as an index class {other} ({names[other or 0]!r}); head the "
            "column label_name or label_index"
        )
    chosen = complete[0]
    count = Counter(names)
    twice = next((text for text in texts.values() if count[text] > 1), None)
    if chosen is by_name and twice is not None:
        raise UserError(
            f"expected each label to name one class, got {twice!r}, which {NAMES} lists {count[twice]} times; "
            "write class indices under the heading label_index, or make the names differ"
        )
    return [cast(int, chosen[value]) for value in values]


def class_index(text: str, classes: int) -> int | None:
    """A class index, also as a spreadsheet writes it, `3.0`; None if it is none."""
    whole, _, rest = text.partition(".")
    if not (whole.isascii() and whole.isdecimal() and not rest.strip("0")) or len(whole) > 9:
        return None
    return int(whole) if not classes or int(whole) < classes else None
