"""Images in a folder per class, in the order and with the labels of torchvision's ImageFolder; without boxes."""

import posixpath
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attnlab.data.base import IMAGE_SUFFIXES, WITHOUT, Anywhere, Entry, FileSet, as_id, suffix_of
from attnlab.data.boxes_table import NAMES
from attnlab.data.file_list import list_files
from attnlab.data.objects import numbered
from attnlab.errors import UserError
from attnlab.stores import StorePath
from attnlab.words import counted

SUFFIXES = IMAGE_SUFFIXES | {".pgm", ".ppm"}  # torchvision's, and .gif
#: names of folders that may be splits -> the split
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLITS |= {"test": "test", "testing": "test"}


def class_folders(root: Anywhere, split: str) -> FileSet:
    """Open ROOT/SPLIT/CLASS/..., or ROOT/CLASS/... where the folders in ROOT are no splits.

    Classes, labels and order are those of torchvision's ImageFolder: the names of the folders, sorted as text. A
    classes.txt, in ROOT/SPLIT or in ROOT, lists them in another order. Images may lie in folders of a class's folder.
    An image's id is its path. Pixels are read as they are stored, as ImageFolder does: EXIF orientation is not applied.

    Raises:
        UserError: If there are no images in class folders, or the folders in ROOT can be read as splits and as classes.
    """
    here = _folder_of(root, split)
    found = images_by_class(here)
    if not any(found.values()):
        raise UserError(f"expected images in class folders, such as {here / 'CLASS' / '1.jpg'}, got none")
    index_of, classes = numbered(list(found), (here, root), f"the folders in {here}")
    if len(classes) < 2:
        raise UserError(
            f"expected two or more class folders in {here}, got {classes[0]} alone; a {NAMES} there lists more classes"
        )
    _tell(here, found, classes)
    return labelled("class-folders", here, found, index_of, classes)


def images_by_class(folder: Path | StorePath) -> dict[str, list[str]]:
    """Folders in a folder, sorted, and of each the paths of its images, relative to the folder, in ImageFolder's order.

    Raises:
        UserError: If a hidden folder holds images, of which a class would be made, or a folder cannot be read.
    """
    found: dict[str, list[str]] = {name: [] for name in folders_in(folder)}
    for path in list_files(folder, links=True):
        name, below, _ = path.partition("/")
        if below and suffix_of(path) in SUFFIXES:
            if name not in found:
                raise UserError(
                    f"expected each folder with images to be a class, got {folder / name}, a hidden one; move it out "
                    f"of {folder}, or take the dot off its name"
                )
            found[name].append(path)
    for paths in found.values():
        paths.sort(key=lambda path: path.rpartition("/")[::2])  # folder by folder, its own files first
    return found


def labelled(
    name: str,
    folder: Path | StorePath,
    found: Mapping[str, Sequence[str]],
    index_of: Mapping[str, int],
    classes: Sequence[str],
) -> FileSet:
    """The image set of images by class, whose ids are their paths.

    Args:
        name: Of the data set.
        folder: What their paths are relative to.
        found: As `images_by_class` gives them.
        index_of: Class index of each folder.
        classes: Their names in the order of the labels.
    """
    paths = [path for paths in found.values() for path in paths]
    labels = [index_of[key] for key, paths in found.items() for _ in paths]
    return FileSet(
        name=name,
        classes=classes,
        image_ids=[as_id(path) for path in paths],
        entries=[Entry(folder / path, label, WITHOUT) for path, label in zip(paths, labels, strict=True)],
        has_boxes=False,
    )


def short_ids(paths: Sequence[str]) -> list[str]:
    """Names of files without suffix for ids that are paths; where several share one, the paths instead."""
    bare = [posixpath.splitext(path)[0] for path in paths]
    ids = [path.rpartition("/")[2] for path in bare]
    for longer in (bare, paths):
        count = Counter(ids)
        ids = [name if count[name] == 1 else other for name, other in zip(ids, longer, strict=True)]
    return ids


def _folder_of(root: Anywhere, split: str) -> Anywhere:
    """The folder that holds the class folders.

    A folder in ROOT is a split if it is called as one, or as the split asked for, and else a class. Those called as a
    split are classes too where others hold images beside them, unless their images lie in folders themselves: then
    both readings are possible.
    """
    folders = [root / name for name in folders_in(root)]
    splits = [folder for folder in folders if folder.name == split or folder.name.lower() in SPLITS]
    others = [folder for folder in folders if folder not in splits and _holds_images(folder)]
    with_classes = [folder for folder in splits if any(_holds_images(folder / name) for name in folders_in(folder))]
    if others and with_classes:
        one = root / split if root / split in with_classes else with_classes[0]
        raise UserError(
            f"expected folders of splits or of classes in {root}, got {_names(with_classes)} with class folders and "
            f"{_names(others)} with images; name --root {one}, or move the others elsewhere"
        )
    if others or not splits:
        meant = SPLITS.get(root.name.lower(), split)
        if meant != SPLITS.get(split.lower(), split):
            raise UserError(f"expected --split {root.name} with the class folders in {root}, got {split}")
        return root
    if root / split not in splits:
        raise UserError(
            f"expected a folder {split} or class folders in {root}, got {_names(splits)}; "
            f"--split {' or '.join(folder.name for folder in splits)} has images"
        )
    return root / split


def _tell(here: Path | StorePath, found: Mapping[str, Sequence[str]], classes: Sequence[str]) -> None:
    """Warn of what a user may not expect of the folders."""
    empty = [name for name, paths in found.items() if not paths]
    if empty:
        which = f"{_names(empty)} in {here}" + (", whose labels stay theirs" if len(empty) > 1 else "")
        warnings.warn(f"no image of {counted(len(empty), 'class')}: {which}", stacklevel=3)
    loose = sum(path.is_file() and suffix_of(path.name) in SUFFIXES for path in here.iterdir())
    if loose:
        warnings.warn(f"left out {counted(loose, 'image')} in {here} itself, in no class folder", stacklevel=3)
    if all(name.isascii() and name.isdecimal() for name in found):
        by_number = sorted(found, key=lambda name: (int(name), name))
        if list(classes) == list(found) != by_number:
            place = next(index for index, name in enumerate(found) if name != by_number[index])
            warnings.warn(
                f"class folders in {here} have numbers for names and are sorted as text, as torchvision's ImageFolder "
                f"does: label {place} is folder {classes[place]}; a {NAMES} that lists them by number has other labels",
                stacklevel=3,
            )


def folders_in(folder: Path | StorePath) -> list[str]:
    """Names of the folders in a folder, sorted, but for hidden ones."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != "." and path.is_dir())


def _holds_images(folder: Path | StorePath) -> bool:
    return any(suffix_of(name) in SUFFIXES for name in list_files(folder, links=True))


def _names(items: Iterable[str | Path | StorePath]) -> str:
    """The first few names."""
    names = [item if isinstance(item, str) else item.name for item in items]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
