"""Texts made comparable: what differs from run to run masked, pages and JSON as lines, the numbers in them."""

import base64
import hashlib
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image

#: what differs from run to run, and what stands for it
MASKS = [
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z| UTC)?", "TIME"),
    (r"\b\d+:\d\d:\d\d\b", "DURATION"),
    (r"\b[\d.,]+ (images|steps|records)/s", r"SPEED \1/s"),
    (r", (SPEED images/s|DURATION left)\b", ""),  # a fast command prints neither
    (r"\b[0-9a-f]{40}(-dirty)?\b", "COMMIT"),
    (r"\b[\d.]+ [kMG]?B\b", "SIZE"),
    (r"\b\d+\.\d+\.\d+(\.?(dev|rc|post)\d+)?(\+\w+)?\b", "VERSION"),
]
#: progress lines, which depend on the speed
PROGRESS = re.compile(r"^(\d+ of \d+ (images?|records?)\b.*|LIME: at most .*)\n", re.MULTILINE)
#: keys of a manifest that say when and with what, not what was computed
VOLATILE = {"attnlab", "git", "command", "python", "versions", "platform", "device", "threads", "started", "seconds"}
VOLATILE |= {"sessions", "root"}
DECIMALS = re.compile(r"(?<![\w.])-?\d*\.\d+(?:e[-+]?\d+)?(?!\w)|\bpicture [0-9a-f]{12}\b")
NUMBERS = re.compile(r"(?<![\w.])-?\d*\.?\d+(?:e[-+]?\d+)?(?!\w)|\bpicture [0-9a-f]{12}\b")


def mask(text: str, places: dict[str, str]) -> str:
    """The text without what differs from run to run; `places` are paths and what stands for them."""
    for path, name in places.items():
        text = text.replace(path, name)
    for pattern, name in MASKS:
        text = re.sub(pattern, name, text)
    return text


def printed(text: str, places: dict[str, str]) -> str:
    """What a command printed, without its progress."""
    return mask(PROGRESS.sub("", text), places)


def numbers_in(text: str, *, whole: bool) -> Counter[str]:
    """How often each number stands in a text, and each picture; whole numbers too, or decimals alone."""
    found = (NUMBERS if whole else DECIMALS).findall(text)
    return Counter(one if one.startswith("picture") else f"{float(one):g}" for one in found)


def described(content: str) -> str:
    """A JSON file as lines, without what is volatile; `finished` is whether it is."""
    return json.dumps(_lasting(json.loads(content)), indent=1)


def _lasting(value: Any) -> Any:
    if isinstance(value, list):
        return [_lasting(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _lasting(inner) for key, inner in value.items() if key not in VOLATILE}
    return kept | ({"finished": value["finished"] is not None} if "finished" in value else {})


class Page(HTMLParser):
    """A page as lines: its text, a table's row a line, its data, a hash of each picture and drawn shape."""

    CELLS = ("td", "th")
    INLINE = ("a", "b", "i", "em", "strong", "code", "small", "span", "sub", "sup", "tspan", "abbr")
    SHAPE = ("d", "points", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "transform")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.inside = ""
        self.feed(page)

    @property
    def text(self) -> str:
        """The lines."""
        lines = (re.sub(r"\s+", " ", line).strip() for line in "".join(self.parts).split("\n"))
        return "\n".join(filter(None, lines)) + "\n"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a line or a cell; note what is read aloud, and the shape drawn."""
        given = {name: value or "" for name, value in attrs}
        if tag in ("script", "style"):
            self.inside = given.get("type", "code")
        self.parts.append(" | " if tag in self.CELLS else " " if tag in self.INLINE else "\n")
        self.parts += [f"({given[name]}) " for name in ("aria-label", "alt", "title", "placeholder") if given.get(name)]
        if shape := ",".join(f"{name}={given[name]}" for name in self.SHAPE if name in given):
            self.parts.append(f"shape {tag} {hashlib.sha256(shape.encode()).hexdigest()[:12]}")

    def handle_endtag(self, tag: str) -> None:
        """End a line or a cell."""
        self.inside = ""
        self.parts.append(" " if tag in (*self.CELLS, *self.INLINE) else "\n")

    def handle_data(self, data: str) -> None:
        """Keep text, data and pictures; leave out code and style."""
        if self.inside == "application/json" or (not self.inside and data.startswith("{\n")):  # or run.json, shown
            self.parts.append(f"{described(data)}\n")
        elif not self.inside:
            self.parts.append(re.sub(r"\s+", " ", data))
        elif self.inside == "text/plain":
            self.parts += [f"picture {_hash_of(base64.b64decode(one))}\n" for one in data.split()]


def _hash_of(picture: bytes) -> str:
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGBA"))
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:12]
