"""A column of labels: class names, or class indices, and one reading for all of it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from attnlab.data.text import read_text
from attnlab.errors import UserError

NAMES = "classes.txt"
#: how a column may be headed -> its one possible reading; "" where the values decide
HEADINGS = {"label": "", "class": "", "label_name": "name", "class_name": "name", "label_index": "index"}
#: digits that an index can have
DIGITS = 9


def read_names(path: Path) -> list[str]:
    """Class names, one a line, in the order of their indices."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_labels(values: Sequence[str], images: Sequence[str], names: Sequence[str], heading: str) -> list[int]:
    """Class index of each value of a column; all of them are read as names, or all as indices, never in two ways.

    `images` are what each row is about, for errors; `names` are empty where there are none.
    """
    if not values:
        return []
    wanted = HEADINGS[heading]
    texts = {value: value.strip() for value in dict.fromkeys(values)}
    index_of = {name: index for index, name in reversed(list(enumerate(names)))}
    by_name = {value: index_of.get(text) for value, text in texts.items()}
    by_index = {value: _index(text, len(names)) for value, text in texts.items()}
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


def _index(text: str, classes: int) -> int | None:
    """A class index, also as a spreadsheet writes it, `3.0`; None if it is none."""
    whole, _, rest = text.partition(".")
    if not (whole.isascii() and whole.isdecimal() and not rest.strip("0")) or len(whole) > DIGITS:
        return None
    return int(whole) if not classes or int(whole) < classes else None
