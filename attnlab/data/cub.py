"""CUB-200-2011 (Wah et al. 2011): birds of 200 species, with boxes, and masks where the segmentations lie there too."""

import math
from pathlib import Path

from attnlab.data.base import Anywhere, FileSet
from attnlab.data.class_folders import short_ids
from attnlab.data.file_list import list_files
from attnlab.data.masks import MaskFile
from attnlab.data.objects import Annotated, Object, file_set
from attnlab.data.text import read_text
from attnlab.errors import Unusable, UserError
from attnlab.stores import StorePath

IMAGES = "images.txt"
#: grey levels of a segmentation are shares of its annotators: from here on most of them saw the bird
MOST = 128


def cub(root: Anywhere, split: str) -> FileSet:
    """Open the training or the test images as train_test_split.txt divides them.

    ROOT, or ROOT/CUB_200_2011, holds images.txt, the tables beside it and images/; segmentations/ lies in either. Boxes
    are x, y, width and height in pixels of the image as it is stored, and read as x, y, x + width, y + height. Grey
    levels of a segmentation from 128 on are the bird.

    Raises:
        UserError: If a table is missing, cut or malformed.
    """
    here = next((folder for folder in (root / "CUB_200_2011", root) if (folder / IMAGES).is_file()), None)
    if here is None:
        raise UserError(f"no CUB-200-2011 in {root}; expected {IMAGES} there or in CUB_200_2011")
    names = {image: values[0] for image, values in _table(here / IMAGES, 1).items()}
    species = _table(here / "classes.txt", 1)
    label_of = {number: label for label, number in enumerate(species)}
    classes, boxes, parts = (
        _of_all(names, here / name, count)
        for name, count in (("image_class_labels.txt", 1), ("bounding_boxes.txt", 4), ("train_test_split.txt", 1))
    )
    wanted = {"train": "1", "test": "0"}[split]
    chosen = [image for image in names if parts[image][0] == wanted]
    if not chosen:
        raise UserError(f"expected images of the {split} split in {here / IMAGES}, got none")
    files = set(list_files(here / "images"))
    masks = next((path for path in (here / "segmentations", root / "segmentations") if path.is_dir()), None)
    masked = set(list_files(masks)) if masks else set()
    images: dict[str, Annotated | Unusable] = {}
    for image, key in zip(chosen, short_ids([names[image] for image in chosen]), strict=True):
        name, label = names[image], label_of.get(classes[image][0])
        if label is None:
            raise UserError(f"expected classes of images in {here} to be in classes.txt, got {classes[image][0]!r}")
        mask = f"{name.rpartition('.')[0]}.png"
        drawn = MaskFile(masks / mask, at_least=MOST) if masks and mask in masked else None
        notes = ("without a segmentation: the box is ground truth",) if masks and not drawn else ()
        one = Object(label, _corners(boxes[image], f"image {image} in {here}"), drawn)
        absent = Unusable(f"named in {IMAGES}, but there is no such file")
        images[key] = Annotated(here / "images" / name, [one], notes=notes) if name in files else absent
    return file_set("cub", [_called(values[0]) for values in species.values()], images, None, upright=False)


def _table(path: Path | StorePath, count: int) -> dict[str, list[str]]:
    """The rows of a table by the number that they begin with; so many values follow it."""
    rows: dict[str, list[str]] = {}
    for line, text in enumerate(read_text(path).splitlines(), 1):
        number, *values = text.split()[: count + 2] or [""]
        if not number:
            continue
        if len(values) != count or not number.isdecimal():
            raise UserError(f"expected a number and {count} values in line {line} of {path}, got {text[:60]!r}")
        if number in rows:
            raise UserError(f"expected each number once in {path}, got {number} again in line {line}")
        rows[number] = values
    return rows


def _of_all(names: dict[str, str], path: Path | StorePath, count: int) -> dict[str, list[str]]:
    """A table that has a row for each image."""
    rows = _table(path, count)
    missing = next((image for image in names if image not in rows), None)
    if missing is not None:
        raise UserError(f"expected a line for each image of {IMAGES} in {path}, got none for {missing}; is it cut?")
    return rows


def _corners(values: list[str], where: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a box, half-open."""
    try:
        x, y, width, height = map(float, values)
    except ValueError:
        x = y = width = height = math.nan
    if not all(map(math.isfinite, (x, y, width, height))):
        raise UserError(f"expected the box of {where} to be four numbers, got {' '.join(values)[:60]!r}")
    return x, y, x + width, y + height


def _called(name: str) -> str:
    """A class's name without its number: `001.Black_footed_Albatross`."""
    number, _, rest = name.partition(".")
    return rest if number.isdecimal() and rest else name
