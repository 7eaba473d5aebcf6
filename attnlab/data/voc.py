"""PASCAL VOC as its devkit has it, and images with an XML each as labelling tools write them."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from attnlab.data.base import FileSet, is_image
from attnlab.data.boxes_table import check_pixels
from attnlab.data.coco_files import SPLITS, split_word, words_of
from attnlab.data.file_list import list_files
from attnlab.data.masks import VOID, BoxMask, MaskFile
from attnlab.data.objects import Annotated, Object, file_set, numbered, warn_of_numbers
from attnlab.data.text import read_text
from attnlab.data.voc_xml import VocAnnotation, read_annotation
from attnlab.errors import Unusable, UserError
from attnlab.stores import StorePath, each

LISTS = "ImageSets"
MASKS = "SegmentationObject"
#: folders that say what a file is, not which image it belongs to
PLACES = {"annotations", "jpegimages", "images", "xml", "xmls", MASKS.lower()}
ZERO = "with a corner at 0, where PASCAL VOC counts from 1 on: its boxes may be a pixel off"


@dataclass
class Files:
    """The files of one image, as paths below the root."""

    images: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)


def voc(root: Path | StorePath, split: str, label: str | None) -> FileSet:
    """Open the images of a split with their objects' boxes, and masks where they have some.

    The root is a devkit's VOC2012, or a folder above it: ImageSets/Main/SPLIT.txt lists the images, or
    ImageSets/SPLIT.txt where the split is such as Segmentation/val. Without ImageSets it holds images and XML files of
    the same names, side by side or in Annotations, JPEGImages and images; where folders in it are called as splits, one
    of them is taken.

    The class index is the place among the sorted names of all annotations, of other splits too; a classes.txt in the
    root gives another order. Corners are pixels counted from 1 on, and of the object: xmin - 1, ymin - 1, xmax, ymax.
    They refer to the picture turned as EXIF says, scaled to it where the XML gives another size of the same aspect;
    objects called difficult are objects. The mask of the object in place k of the XML is value k of
    SegmentationObject/NAME.png. Without `label` the largest box decides.
    """
    here = _devkit(root)
    found = _grouped(here)
    chosen = _listed(here, split, found) if (here / LISTS).is_dir() else _split(here, split, found)
    files = [name for one in found.values() for name in one.annotations]
    if not files:
        raise UserError(f"expected annotations, an .xml for each image, in {here}, got none")
    said = dict(zip(files, each(read_annotation, [here / name for name in files]), strict=True))
    whole = [one for one in said.values() if isinstance(one, VocAnnotation)]
    check_pixels((corner for one in whole for box in one.boxes for corner in box), here)
    names = sorted({name for one in whole for name in one.names})
    index_of, classes = numbered(names, (here, root), here)
    if classes == names:
        warn_of_numbers(names, here)
    entries = {name: _image(here, one, said, index_of) for name, one in chosen.items()}
    return file_set("voc", classes, entries, label or "largest", strict_aspect=True)


def _devkit(root: Path | StorePath) -> Path | StorePath:
    """The folder of one year of VOC in or below the root, else the root."""
    above = [root, *_folders(root), *_folders(root / "VOCdevkit")]
    found = [folder for folder in above if (folder / LISTS).is_dir() and (folder / "Annotations").is_dir()]
    if len(found) > 1:
        listed = ", ".join(str(folder) for folder in found)
        raise UserError(f"expected one folder with {LISTS} in {root}, got {listed}; name one as --root")
    return found[0] if found else root


def _folders(folder: Path | StorePath) -> list[Path | StorePath]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _grouped(here: Path | StorePath) -> dict[str, Files]:
    """The files below a folder by the name of their image, sorted."""
    names = [path.name for path in here.iterdir() if not path.is_dir()]
    for folder in _folders(here):  # one by one, since they may be links
        if folder.name not in (LISTS, "SegmentationClass"):
            names += [f"{folder.name}/{name}" for name in list_files(folder)]
    found: dict[str, Files] = defaultdict(Files)
    for name in sorted(names):
        stem, suffix = posixpath.splitext(name)
        if posixpath.basename(name).startswith("."):
            continue
        key = "/".join(part for part in stem.split("/") if part.lower() not in PLACES)
        if name.startswith(f"{MASKS}/"):
            found[key].masks.append(name)
        elif suffix.lower() == ".xml":
            found[key].annotations.append(name)
        elif is_image(name):
            found[key].images.append(name)
    return dict(sorted(found.items()))


def _listed(here: Path | StorePath, split: str, found: Mapping[str, Files]) -> dict[str, Files]:
    """The images that a list of ImageSets names; one list alone whose name says no split serves any."""
    lists = {path.stem: path for path in (here / LISTS / "Main").glob("*.txt")}
    if "/" in split and ".." not in split:
        lists |= {split: here / LISTS / f"{split}.txt"}
    sole = [] if split in lists else [path for name, path in lists.items() if not words_of(name)]
    path = lists.get(split) or (sole[0] if len(sole) == len(lists) == 1 else None)
    if path is None or not path.is_file():
        others = ", ".join(sorted(name for name in lists if "_" not in name)) or "none"
        raise UserError(
            f"expected {here / LISTS}/Main/{split}.txt, a list of images, got lists for the splits {others}"
        )
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    flagged = next((line for line in lines if len(line) > 1), None)
    if flagged:
        raise UserError(
            f"expected {path} to list images, one a line, got {' '.join(flagged)!r}, as lists of a class have"
        )
    return {name: found.get(name, Files()) for (name,) in lines}


def _split(here: Path | StorePath, split: str, found: Mapping[str, Files]) -> dict[str, Files]:
    """All images, or those in the folder of a split where folders are called as splits."""
    tops = dict.fromkeys(key.split("/")[0] for key, files in found.items() if "/" in key and files.annotations)
    splits = [top for top in tops if top == split or re.fullmatch(split_word(SPLITS), top.lower())]
    if not splits:
        return dict(found)
    own = [top for top in splits if top == split] or [top for top in splits if split in words_of(top)]
    if len(own) != 1:
        raise UserError(f"expected the split {split} in {here}, got folders of {', '.join(splits)}")
    return {key.removeprefix(f"{own[0]}/"): files for key, files in found.items() if key.startswith(f"{own[0]}/")}


def _image(
    here: Path | StorePath, files: Files, said: Mapping[str, VocAnnotation | Unusable], index_of: Mapping[str, int]
) -> Annotated | Unusable:
    """An image and its objects."""
    if not files.annotations or not files.images:
        return Unusable(f"no {'image for this annotation' if files.annotations else 'annotation for this image'}")
    twice = next((paths for paths in (files.annotations, files.images) if len(paths) > 1), None)
    if twice:
        return Unusable(f"several files for one image and its annotation: {', '.join(twice)}")
    one = said[files.annotations[0]]
    if isinstance(one, Unusable):
        return one
    count = len(one.names)
    mask = here / files.masks[0] if files.masks and count < VOID else None
    boxes = [(xmin - 1, ymin - 1, xmax, ymax) for xmin, ymin, xmax, ymax in one.boxes]
    objects = [
        Object(
            index_of[name],
            box,
            MaskFile(mask, (place,), objects=count, within=BoxMask(box, one.size)) if mask else None,
        )
        for place, (name, box) in enumerate(zip(one.names, boxes, strict=True), 1)
    ]
    zero = any(corner < 0.5 for box in one.boxes for corner in box[:2])
    return Annotated(here / files.images[0], objects, one.size, (ZERO,) if zero else ())
