"""Annotations in XML of PASCAL VOC's layout, read by tag: those of VOC, of ImageNet and of labelling tools."""

import math
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from attnlab.errors import Unusable
from attnlab.stores import StoreLost, StorePath

CORNERS = ("xmin", "ymin", "xmax", "ymax")
MOST = 200  # characters of an error that are shown, which may quote what a file has in place of a number


class VocAnnotation(NamedTuple):
    """What an annotation says of an image, as it stands there."""

    names: list[str]  # of its objects' classes
    boxes: list[list[float]]  # xmin, ymin, xmax, ymax of each object
    size: tuple[int, int] | None  # height and width, where both are given


class _NoDoctype(ElementTree.TreeBuilder):
    """Builds the tree of an annotation; entities, which could expand without end, are declared in a DOCTYPE alone."""

    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise ValueError("it has a DOCTYPE, which annotations do not")


def read_annotation(path: Path | StorePath) -> VocAnnotation | Unusable:
    """Read one annotation, or say why that cannot be done."""
    try:
        file = path.open() if isinstance(path, StorePath) else path
        tree = ElementTree.parse(file, ElementTree.XMLParser(target=_NoDoctype())).getroot()
        objects = tree.findall("object")
        names = [item.findtext("name", "").strip() for item in objects]
        if not all(names):
            raise ValueError("an object without a name")
        boxes = [[finite(item.findtext(f"bndbox/{tag}", "")) for tag in CORNERS] for item in objects]
        height, width = (int(tree.findtext(f"size/{tag}", "0")) for tag in ("height", "width"))
        return VocAnnotation(names, boxes, (height, width) if height > 0 and width > 0 else None)
    except StoreLost:
        raise
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last: an unknown encoding
        return Unusable(f"malformed annotation {path.name}: {str(error)[:MOST]}")
    except OSError as error:
        return Unusable(f"the annotation {path.name} cannot be read: {error.strerror}")


def finite(text: str) -> float:
    """A coordinate; raises ValueError if it is none."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {text[:20]!r}")
    return value
