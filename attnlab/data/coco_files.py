"""Where a data set of COCO has its JSON, and where its images lie."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from attnlab.data.file_list import list_files
from attnlab.errors import Unusable, UserError
from attnlab.stores import Root, StorePath, Url, open_root

ANNOTATIONS = "annotations"
SPLITS = "trainval|train|val|test"
SKIPPED = ("", ".", "..")  # parts of a path


class Found(NamedTuple):
    """An image that a JSON names."""

    name: str  # its path below the folder that it was found in; as the JSON has it where it was not
    path: Path | StorePath | Unusable


def find(root: Root, split: str) -> tuple[Path | StorePath, Path | StorePath]:
    """The folder of a data set, and the JSON of a split in it.

    A root that names a JSON means this one, whatever the split; the folder is that of the JSON, or the one above if
    that is called `annotations`.
    """
    if not str(root).lower().endswith(".json") or (isinstance(root, Path) and root.is_dir()):
        folder = open_root(root)
        return folder, _json_of(folder, split)
    above = root.above() if isinstance(root, Url) else root.parent
    name = posixpath.basename(str(root).replace("\\", "/"))
    if posixpath.basename(str(above)) != ANNOTATIONS and getattr(above, "name", "") != ANNOTATIONS:
        folder = open_root(above)
        return folder, folder / name
    folder = open_root(above.above() if isinstance(above, Url) else above.parent)
    return folder, folder / ANNOTATIONS / name


def _json_of(folder: Path | StorePath, split: str) -> Path | StorePath:
    """The one JSON below a folder whose path names the split, or else no split; of COCO's several the instances."""
    below = {_below(path, folder): path for pattern in ("*.json", "*/*.json") for path in folder.glob(pattern)}
    named = [name for name in below if re.search(split_word(re.escape(split.lower())), name.lower())]
    found = named or [name for name in below if not words_of(name)]
    found = [name for name in found if posixpath.basename(name).startswith("instances")] or found
    if len(found) == 1:
        return below[found[0]]
    if found:
        listed = ", ".join(sorted(found)[:6])
        raise UserError(f"expected one JSON for the split {split} in {folder}, got {listed}; name it as --root")
    where = "none; --root is the folder that holds JSON and images, or the JSON itself"
    others = f"those of other splits: {', '.join(sorted(below)[:6])}" if below else where
    raise UserError(f"expected a JSON of COCO's instances for the split {split} in {folder}, got {others}")


def split_word(names: str) -> str:
    """What finds the name of a split, or one of several with | between them, in that of a file."""
    return rf"(?<![a-z])({names})(?:ing|id|idation)?(?![a-z])"


def words_of(name: str) -> set[str]:
    """Splits that a path names."""
    return set(re.findall(split_word(SPLITS), name.lower()))


def locate(
    folder: Path | StorePath, json: Path | StorePath, split: str, images: Sequence[Mapping[str, Any]]
) -> list[Found]:
    """The files of images, by the `file_name` that the JSON gives them.

    A name is looked for as it stands in the folder that is called as the JSON (`instances_` aside) or as the split, in
    the root or its `images`; then in `images` and `data` beside the JSON and beside it; then in `images` and `data` of
    the root and in the root. What is found nowhere is looked for without its first folder, and so on, since labelling
    tools write paths of their own. Folders that name another split count neither here nor there.
    """
    own = words_of(_below(json, folder)) or words_of(split) or {split}
    folders = [place for place in _folders(folder, json, split) if words_of(_below(place, folder)) <= own]
    files = cache(lambda place: frozenset(list_files(place)))
    cleaned = [[part for part in re.split(r"[/\\]", image["file_name"]) if part not in SKIPPED] for image in images]
    found = [_look_for(parts, own, folders, files) for parts in cleaned]
    times = Counter(found)
    return [
        Found("/".join(parts), Unusable(f"named in {json.name}, but there is no such file"))
        if place is None
        else Found("/".join(parts), Unusable(f"another image in {json.name} is the same file"))
        if times[place] > 1
        else Found(place[1], place[0] / place[1])
        for parts, place in zip(cleaned, found, strict=True)
    ]


def _folders(folder: Path | StorePath, json: Path | StorePath, split: str) -> list[Path | StorePath]:
    """Folders in which images may lie, the likeliest first."""
    called = dict.fromkeys([json.stem.removeprefix("instances_"), split])
    beside = json.parent
    likely: list[Path | StorePath]
    likely = [place / name for name in called for place in (folder, folder / "images")]
    likely += [place / name for place in (beside, folder) for name in ("images", "data", "")]
    return [place for place in dict.fromkeys(likely) if place.is_dir()]


def _look_for(
    parts: Sequence[str],
    own: set[str],
    folders: Sequence[Path | StorePath],
    files: Callable[[Path | StorePath], Collection[str]],
) -> tuple[Path | StorePath, str] | None:
    """The folder in which an image lies, and its path below that."""
    for start in range(len(parts)):
        if start and not words_of("/".join(parts[:start])) <= own:
            return None
        name = "/".join(parts[start:])
        for place in folders:
            # files are listed once; what is not among them may still lie behind a linked folder
            linked = not start and "/" in name and isinstance(place, Path) and os.path.isfile(place / name)
            if name in files(place) or linked:
                return place, name
    return None


def _below(path: Path | StorePath, folder: Path | StorePath) -> str:
    """A path below a folder, as text."""
    return path.relative_to(folder).as_posix()  # type: ignore[arg-type]  # both on this machine, or both in one store
