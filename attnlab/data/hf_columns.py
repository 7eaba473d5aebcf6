"""Which columns of a data set of Hugging Face's library hold images, labels, boxes and masks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attnlab.data.boxes_table import check_pixels
from attnlab.data.decode import ORIENTATION, open_image
from attnlab.errors import UserError
from attnlab.stores import StorePath

try:
    import datasets
except ImportError:
    raise UserError("--data hf:NAME needs datasets: pip install 'attnlab[hf]'") from None

__all__ = ["Columns", "columns_of", "corners_of", "datasets"]

Boxes = npt.NDArray[np.float64]

#: names of columns, the usual first
LABELS = ("label", "labels", "fine_label", "class", "category", "target")
MASKS = ("mask", "segmentation", "annotation")
OBJECTS = ("objects", "annotations")
BOXES = ("bbox", "bboxes", "box", "boxes")
OBJECT_LABELS = ("category", "categories", "category_id", "label", "labels", "class")
FILES = ("file_name", "filename", "image_path", "path")
ENOUGH = 0.1  # share of impossible boxes that rules a reading out
MEASURED = 500  # images that are opened for their size, where no column gives it


@dataclass(frozen=True)
class Columns:
    """Columns by what they hold.

    Attributes:
        image: Of pictures.
        label: Of labels; those of objects where there are boxes.
        names: Of the classes, where the labels are a ClassLabel.
        objects: Of objects, if there are any.
        boxes: Their boxes.
        mask: Of pictures that are the mask of the image's one object.
        files: Of file names.
        sizes: Of heights and widths, where there are both.
    """

    image: str
    label: str
    names: Sequence[str] | None
    objects: str | None = None
    boxes: str | None = None
    mask: str | None = None
    files: str | None = None
    sizes: bool = False

    def values(self, table: Any) -> list[Any]:
        """The label of each row, or the list of those of its objects."""
        return self._of_objects(table, self.label) if self.objects else list(table[self.label][:])

    def boxes_of(self, table: Any) -> list[list[list[float]]]:
        """The four numbers of each box of each row."""
        assert self.boxes
        return self._of_objects(table, self.boxes)

    def _of_objects(self, table: Any, key: str) -> list[Any]:
        """A value of the objects of each row, which is a mapping of lists or a list of mappings."""
        rows = table.select_columns([self.objects])[self.objects][:]
        return [list(row[key] or []) if isinstance(row, dict) else [one[key] for one in row or []] for row in rows]

    def sizes_of(
        self, table: Any, pictures: Sequence[Path | StorePath | None], boxes: Sequence[Sequence[Any]]
    ) -> dict[int, tuple[int, int]]:
        """Height and width of rows with boxes: of all where columns say them, else of some, which are opened."""
        having = [row for row, some in enumerate(boxes) if some and pictures[row]]
        if self.sizes:
            height, width = table["height"][:], table["width"][:]
            return {row: (height[row], width[row]) for row in having if height[row] and width[row]}
        some = having[:: max(1, len(having) // MEASURED)]
        sizes = {row: _size(pictures[row]) for row in some}
        return {row: size for row, size in sizes.items() if size}


def columns_of(features: Mapping[str, Any], name: str) -> Columns:
    """Find the columns by their kinds and names.

    The image is the one column of pictures, masks aside. The label is `label`, `labels` or `fine_label` where there is
    one, else the only ClassLabel, else the only column of texts or whole numbers that is called as one. Objects are a
    column `objects` of structures with `bbox` and `category`, or alike. A mask is a column of pictures called `mask`,
    `segmentation` or `annotation`; it counts where there are no objects.

    Raises:
        UserError: If there are none, or several.
    """
    listed = ", ".join(f"{key} ({type(kind).__name__})" for key, kind in features.items())
    pictures = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
    masks = [key for key in pictures if key.lower() in MASKS]
    image = _only([key for key in pictures if key not in masks], "one column of images", name, listed)
    files = next((key for key in FILES if key in features and _is_plain(features[key], "string")), None)
    sizes = all(key in features and _is_plain(features[key], "int") for key in ("height", "width"))
    inner = {key: kind for key in OBJECTS if (kind := _structure(features.get(key)))}
    if inner:
        objects = _only(list(inner), "one column of objects", name, listed)
        known = ", ".join(inner[objects])
        boxes = _only([key for key in BOXES if key in inner[objects]], f"one of {', '.join(BOXES)}", name, known)
        labels = [key for key in OBJECT_LABELS if key in inner[objects]]
        classes = [key for key in labels if isinstance(inner[objects][key], datasets.ClassLabel)]
        label = _only(classes or labels, "one label of objects", name, known)
        return Columns(image, label, _names(inner[objects][label]), objects, boxes, None, files, sizes)
    classes = [key for key, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    plain = [key for key in LABELS if key in features and _is_plain(features[key], "string", "int")]
    usual = [key for key in LABELS[:3] if key in (*classes, *plain)][:1]
    label = _only(usual or classes or plain, "one column of labels", name, listed)
    mask = _only(masks, "one column of masks", name, listed) if masks else None
    return Columns(image, label, _names(features[label]), mask=mask, files=files)


def _only(found: Sequence[str], what: str, name: str, listed: str) -> str:
    if len(found) != 1:
        got = f"{', '.join(found) or 'none'} among {listed}"
        raise UserError(f"expected {what} in {name}, got {got}; write it as images with a boxes.csv, --data folder")
    return found[0]


def _structure(kind: Any) -> dict[str, Any]:
    """Kinds of the values of an object, of a column of lists of structures; empty for others."""
    if isinstance(kind, dict):  # a mapping of lists
        return {key: getattr(inner, "feature", None) for key, inner in kind.items()}
    inner = getattr(kind, "feature", None)
    return inner if isinstance(inner, dict) else {}


def _is_plain(kind: Any, *starts: str) -> bool:
    return isinstance(kind, datasets.Value) and kind.dtype.removeprefix("large_").removeprefix("u").startswith(starts)


def _names(kind: Any) -> Sequence[str] | None:
    return list(kind.names) if isinstance(kind, datasets.ClassLabel) else None


def _size(picture: Path | StorePath | None) -> tuple[int, int] | None:
    """Height and width of a picture, turned upright; None where it cannot be read."""
    try:
        with open_image(picture) as image:  # type: ignore[arg-type]
            turned = image.getexif().get(ORIENTATION, 1) in range(5, 9)
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # which is reported where the image is used
        return None


def corners_of(
    boxes: Sequence[Sequence[Sequence[float]]], sizes: Mapping[int, tuple[int, int]], name: str
) -> Callable[[Boxes], Boxes]:
    """How four numbers become x0, y0, x1, y1: as x, y, width, height or as they are, which the boxes decide.

    As corners a box is impossible where x1 < x0 or y1 < y0, as x, y, width, height where it reaches beyond its image by
    more than a tenth of the image's side; a box without width, or one that ends just past the edge, counts for neither.
    A reading is ruled out where a tenth of its boxes or more are impossible, and more than ten times as many as of the
    other reading. Where neither is ruled out, the error shows both and refuses the data set.

    Raises:
        UserError: If boxes fit both readings or neither, are fractions, or no four numbers.
    """
    if any(len(box) != 4 or any(value is None for value in box) for some in boxes for box in some):
        raise UserError(f"expected boxes of four numbers in {name}, got others")
    check_pixels((value for some in boxes for box in some for value in box), name)
    pairs = [(box, sizes[row]) for row in sizes for box in boxes[row]]
    if not pairs:
        return _from_sizes
    first, second, third, fourth = np.array([box for box, _ in pairs], float).T
    height, width = np.array([size for _, size in pairs], float).T
    no_corners = ((third < first) | (fourth < second)).mean()
    no_sizes = ((first + third > 1.1 * width + 1) | (second + fourth > 1.1 * height + 1)).mean()
    if no_sizes < no_corners / 10 and no_corners >= ENOUGH:
        return _from_sizes
    if no_corners < no_sizes / 10 and no_sizes >= ENOUGH:
        return _as_they_are
    shown = ", ".join(f"{value:g}" for value in pairs[0][0])
    raise UserError(
        f"expected boxes of {name} with one meaning, got {shown} and others, of which {no_sizes:.0%} are impossible as "
        f"x, y, width, height and {no_corners:.0%} as x0, y0, x1, y1; write them in a boxes.csv, --data folder"
    )


def _from_sizes(boxes: Boxes) -> Boxes:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def _as_they_are(boxes: Boxes) -> Boxes:
    return boxes
