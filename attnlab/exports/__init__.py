"""Formats that a run is exported to, for programs in which people look at images and numbers.

One more format is a function from an `attnlab.exports.write.Export` to lines for people, and one entry in EXPORTS: the
help of `attnlab export`, its completion and what it refuses come from there. What writes is imported when it is used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from attnlab.registry import Lazy, Registry


@dataclass(frozen=True)
class ExportSpec:
    """A format.

    Attributes:
        summary: What is written, for help.
        write: Function(export) that writes and returns the lines to print.
        kinds: The commands whose runs it takes.
        options: The options of `ExportConfig` that it takes beside --out, --images and --method.
        all_methods: It has the maps' numbers of every method of a run unless --method names one.
        package: Package that it needs, with an extra of that name; empty for none.
    """

    summary: str
    write: Callable[[Any], list[str]]
    kinds: tuple[str, ...] = ("analyze",)
    options: frozenset[str] = frozenset()
    package: str = ""
    all_methods: bool = False


REPLAYING = frozenset(["root", "device", "trust_code"])  # options of formats with pictures

#: formats by name
EXPORTS: Registry[ExportSpec] = Registry(
    "the format",
    {
        "csv": ExportSpec(
            "records.csv, a row per image and eps, or per model, image and attack: for spreadsheets and R",
            Lazy("attnlab.exports.csv_table:csv_table"),
            ("analyze", "evaluate"),
            all_methods=True,
        ),
        "coco": ExportSpec(
            "annotations.json, images/*.png, maps/*.png; adversarial/EPS/ likewise: for CVAT, FiftyOne, pycocotools",
            Lazy("attnlab.exports.coco:coco"),
            options=REPLAYING | {"no_images"},
        ),
        "fiftyone": ExportSpec(
            "a persistent data set of FiftyOne, named after the run, of the pictures in images/*.png",
            Lazy("attnlab.exports.fiftyone:fiftyone"),
            options=REPLAYING | {"name"},
            package="fiftyone",
        ),
    },
)
