"""Where a data set of YOLO has its class names, and the images of a split."""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from attnlab.data.base import is_image
from attnlab.data.boxes_table import NAMES, read_names
from attnlab.data.file_list import list_files
from attnlab.data.text import read_text
from attnlab.errors import UserError
from attnlab.stores import Root, StorePath, Url, open_root

Place = Path | StorePath
YAMLS = (".yaml", ".yml")
#: files of class names, one a line, in the order of the indices
NAME_FILES = (NAMES, "obj.names", "labels/classes.txt")
#: other names of a split
ALIASES = {"val": ("valid", "validation"), "valid": ("val",), "validation": ("val", "valid")}


class Layout(NamedTuple):
    """A data set of YOLO: its class names, and the images of a split by their paths below `top`."""

    top: Place
    names: list[str]
    said_by: Place  # the file that has the names
    images: dict[str, Place]


def find(root: Root, split: str) -> Layout:
    """Find class names and images of a split.

    The root is a folder, or names a YAML of Ultralytics. Without one the names lie in classes.txt or obj.names, and
    images in images/SPLIT, SPLIT/images, SPLIT, or as SPLIT.txt lists them; where no split has a folder or a list, all
    images in `images` or in the root are meant.
    """
    top, path = _yaml_of(root)
    if path is None:
        said_by = next((top / name for name in NAME_FILES if (top / name).is_file()), None)
        if said_by is None:
            listed = f"data.yaml, {' or '.join(NAME_FILES)}"
            raise UserError(f"expected class names of YOLO in {top}, got none of {listed}")
        if not (names := read_names(said_by)):
            raise UserError(f"expected class names, one a line, in {said_by}, got none")
        return Layout(top, names, said_by, _by_folder(top, split))
    about = _read_yaml(path)
    top = _below(top, str(about["path"])) if about.get("path") and _is_there(top, str(about["path"])) else top
    return Layout(top, _names(about, path), path, _by_yaml(about, top, split, path))


def _yaml_of(root: Root) -> tuple[Place, Place | None]:
    """The folder of a data set, and its YAML if it has one."""
    if str(root).lower().endswith(YAMLS) and not (isinstance(root, Path) and root.is_dir()):
        top = open_root(root.above() if isinstance(root, Url) else root.parent)
        path = top / posixpath.basename(str(root).replace(os.sep, "/"))
        if not path.is_file():
            raise UserError(f"expected --root to be an existing folder or a YAML of YOLO, got {str(root)!r}")
        return top, path
    top = open_root(root)
    found = sorted(path for path in top.iterdir() if path.suffix.lower() in YAMLS and path.is_file())
    usual = [path for path in found if path.stem == "data"]
    found = usual or [path for path in found if "names" in _read_yaml(path)]
    if len(found) > 1:
        listed = ", ".join(path.name for path in found)
        raise UserError(f"expected one YAML of YOLO in {top}, got {listed}; name it, --root {found[0]}")
    return top, found[0] if found else None


def _read_yaml(path: Place) -> dict[Any, Any]:
    try:
        about = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from None
    return about if isinstance(about, dict) else {}


def _names(about: Mapping[Any, Any], path: Place) -> list[str]:
    """Class names in the order of their indices, of a list or of a mapping from the indices."""
    names = about.get("names")
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            shown = ", ".join(map(str, list(names)[:6]))
            raise UserError(f"expected `names` in {path} to number the classes from 0 on, got {shown}")
        names = [name for _, name in sorted(names.items(), key=lambda pair: int(pair[0]))]
    if not isinstance(names, list) or not names or any(isinstance(name, dict | list) for name in names):
        raise UserError(f"expected `names` in {path} to be a list or a mapping of class names, got {names!r:.60}")
    if not all(type(name) in (str, int, float) for name in names):
        raise UserError(
            f"expected texts as `names` in {path}, got a word that YAML reads as true, false or nothing; quote it"
        )
    if "kpt_shape" in about:
        raise UserError(f"expected boxes or polygons, got keypoints: {path} has `kpt_shape`; write boxes alone")
    if "nc" in about and about["nc"] != len(names):
        raise UserError(f"expected as many names in {path} as its `nc` says, {about['nc']}, got {len(names)}")
    return [str(name) for name in names]


def _by_yaml(about: Mapping[Any, Any], top: Place, split: str, path: Place) -> dict[str, Place]:
    """The images of a split that a YAML names: a folder, a list in a .txt, or several of them."""
    wanted = next((name for name in (split, *ALIASES.get(split, ())) if about.get(name)), None)
    if wanted is None:
        having = ", ".join(name for name in ("train", "val", "valid", "test") if about.get(name)) or "none"
        raise UserError(f"expected {path} to say where the images of {split} lie; it has {having}, for --split")
    places = about[wanted] if isinstance(about[wanted], list) else [about[wanted]]
    images: dict[str, Place] = {}
    for text in map(str, places):
        if not _is_there(top, text):
            raise UserError(f"expected the folder or list of {wanted} in {path} to be there, got {text!r}")
        for name, image in _images_of(_below(top, text), top).items():
            if _inner(images.setdefault(name, image)) != _inner(image):
                raise UserError(f"expected images of {wanted} in {path} to have names of their own, got {name} twice")
    return images


def _by_folder(top: Place, split: str) -> dict[str, Place]:
    """The images of a split where folders or lists alone say which they are."""
    words = (split, *ALIASES.get(split, ()))
    forms = ("images/{}", "{}/images", "{}", "{}.txt")
    for form in forms:
        for place in (top / form.format(word) for word in words):
            if place.is_dir() or place.is_file():
                return _images_of(place, top)
    others = {word for word in ("train", "valid", "val", "test") for form in forms if _is_there(top, form.format(word))}
    if others:
        raise UserError(f"expected the split {split} in {top}, got {' and '.join(sorted(others))}; choose by --split")
    return _images_of(top / "images" if (top / "images").is_dir() else top, top)


def _below(top: Place, text: str) -> Place:
    """A path of a YAML or a list; of `../train/images`, as Roboflow writes it beside `train`, without the `../`."""
    text = text.strip().replace("\\", "/")
    place = top / text
    inside = text.removeprefix("../")
    return top / inside if text != inside and not (place.is_dir() or place.is_file()) else place


def _is_there(top: Place, text: str) -> bool:
    place = _below(top, text)
    return place.is_dir() or place.is_file()


def _images_of(place: Place, top: Place) -> dict[str, Place]:
    """The images in a folder, or in a list, by their paths below the top."""
    if place.is_dir():
        start = _name(place, top)
        names = sorted(filter(is_image, list_files(place)))
        found = {f"{start}/{name}" if start else name: place / name for name in names}
    else:
        found = {_name(path, top): path for path in _listed(place, top)}
    if not found:
        raise UserError(f"expected images in {place}, got none")
    return found


def _listed(place: Place, top: Place) -> Iterator[Place]:
    """The images that a .txt lists, one a line, as paths below its folder or the top."""
    for line in read_text(place).splitlines():
        if text := line.strip().replace("\\", "/"):
            # the last: CVAT writes `data/` before the folder that it packs
            paths: Sequence[Place] = (place.parent / text, top / text, top / text.partition("/")[2])
            yield next((path for path in paths if path.is_file()), paths[1])


def _name(path: Place, top: Place) -> str:
    """The path below the top, "" for the top itself; of what lies elsewhere below the folder that holds both."""
    inner, above = _inner(path), _inner(top)
    if inner == above or not above:
        return "" if inner == above else inner
    inside = inner.startswith(f"{above}{os.sep}")
    below = inner[len(above) + 1 :] if inside else os.path.relpath(inner, above)
    return re.sub(r"^(\.\./)+", "", below.replace(os.sep, "/"))


def _inner(place: Place) -> str:
    """The whole path, one for each place."""
    return place.inner if isinstance(place, StorePath) else os.path.abspath(place)
