"""Images in .tar files as WebDataset writes them: files of one name but for the suffix are one sample."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from attnlab.data.base import WITHOUT, Entry, FileSet, as_id
from attnlab.data.boxes_table import NAMES, Box, check_pixels, read_names
from attnlab.errors import Unusable, UserError
from attnlab.stores import Root, StorePath, Url, expand, is_archive, is_pattern, open_root
from attnlab.stores.paths import beside, file_of
from attnlab.stores.remote import kind_of, one_answer, scan_tar
from attnlab.stores.store import Store

PICTURES = ("jpg", "jpeg", "png", "webp")
LABELS = ("cls", "json")
SPLIT_WORDS = re.compile(r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?![a-z])")


@dataclass
class Sample:
    """What the files of one sample say."""

    picture: str = ""  # name of the image's file
    index: int | None = None  # of the .cls
    label: int | str | None = None  # of the .json: a class index or a name
    boxes: list[Box] = field(default_factory=list)
    malformed: str = ""  # why its .json cannot be read
    files: set[str] = field(default_factory=set)


def webdataset(root: Root, split: str) -> FileSet:
    """Open .tar files: those that a pattern names, one, or those in ROOT/SPLIT or else in ROOT.

    A sample is an image (.jpg, .jpeg, .png, .webp) and its label: a class index in .cls, or `label` in .json, an index
    or a name that classes.txt lists. `boxes` in .json are lists of half-open pixels x0, y0, x1, y1 of the picture
    turned as EXIF says. Samples come in the order of the .tar files and of the samples in them. An image's id is its
    sample's key; where two .tar files have a key in common, all ids are NAME/KEY, NAME being that of the .tar file.
    """
    tars, folders = _tars(root, split)
    with ThreadPoolExecutor(16 if isinstance(tars[0], Url) else 1) as pool:  # a far one is waited for
        scanned = list(pool.map(_scan, tars))
    folders = folders or [folder for folder in (beside(tars[0]),) if folder is not None]
    names = next((read_names(folder / NAMES) for folder in folders if (folder / NAMES).is_file()), [])
    ids: list[str] = []
    entries: list[Entry | Unusable] = []
    twice = any(count > 1 for count in Counter(key for _, samples in scanned for key in samples).values())
    for archive, samples in scanned:
        name = str(archive.where).rpartition("/")[2].partition(".")[0]
        for key, sample in samples.items():
            where = f"{archive.where}/{key}"
            ids.append(as_id(f"{name}/{key}" if twice else key))
            entries.append(_entry(archive, sample, names, where))
    boxes = (box for _, samples in scanned for sample in samples.values() for box in sample.boxes)
    check_pixels((value for box in boxes for value in box), root)
    if not entries:
        raise UserError(f"expected samples of WebDataset in {root}, such as 0001.jpg and 0001.cls, got none")
    has_boxes = any(isinstance(entry, Entry) and len(entry.boxes) for entry in entries)
    return FileSet("webdataset", names, ids, entries, has_boxes=has_boxes, upright=True)


def _tars(root: Root, split: str) -> tuple[list[Path | Url], list[Path | StorePath]]:
    """The .tar files, in order, and the folders in which classes.txt may lie."""
    text = root.text if isinstance(root, Url) else str(root)
    if is_pattern(root) or (is_archive(str(root)) and not (isinstance(root, Path) and root.is_dir())):
        tars = [file_of(Url(name) if isinstance(root, Url) else Path(name)) for name in expand(text)]
        return tars, []
    folder = open_root(root)
    here = folder / split if _in(folder / split) else folder
    files = _in(here)
    if not files:
        others = sorted(path.name for path in folder.iterdir() if path.is_dir() and _in(path))
        hint = f"; --split {' or '.join(others)} has some" if others else ""
        raise UserError(f"expected .tar files in {folder} or {folder / split}, got none{hint}")
    words = {found[1]: file for file in files for found in SPLIT_WORDS.finditer(file.name.lower())}
    if len(words) > 1:
        listed = " and ".join(f"{word} ({file.name})" for word, file in words.items())
        hint = "name those of one by a pattern, such as 'DIR/val-{0000..0009}.tar'"
        raise UserError(f"expected .tar files of one split in {here}, got {listed}; {hint}")
    return [file_of(file) for file in files], [here, folder]


def _in(folder: Path | StorePath) -> list[Any]:
    """The .tar files of a folder, sorted by name."""
    names = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in names if is_archive(path.name) and path.suffix != ".zip" and path.is_file())


def _scan(tar: Path | Url) -> tuple[Store, dict[str, Sample]]:
    """One .tar file, of which images alone are kept as members, and its samples by their keys."""
    samples: dict[str, Sample] = {}
    members = {}
    with one_answer(tar):
        kind = kind_of(tar)
        for name, member, content in scan_tar(tar, kind, lambda name: _parts(name)[1] in LABELS):
            key, suffix = _parts(name)
            if not key or member is None or suffix not in (*PICTURES, *LABELS):
                continue
            sample = samples.setdefault(key, Sample())
            where = f"{tar}/{key}"
            if suffix in sample.files:
                raise UserError(f"expected one .{suffix} for {where}, got two")
            sample.files.add(suffix)
            if suffix in PICTURES:
                if sample.picture:
                    raise UserError(f"expected one image for {where}, got {sample.picture} and {name}")
                sample.picture, members[name] = name, member
            elif suffix == "cls":
                sample.index = _index(content.decode(errors="replace").strip(), where)
            else:
                _read_json(sample, content, where)
    about = {key: one for key, one in samples.items() if one.picture or one.index is not None or one.label is not None}
    return Store(tar, kind, members), about


def _parts(name: str) -> tuple[str, str]:
    """A sample's key, up to the first dot of the name, and the suffix in small letters; no key of what is not read."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    first, _, suffix = last.partition(".")
    hidden = not first or name.startswith("/") or ".." in folder.split("/")
    return ("" if hidden else f"{folder}{slash}{first}", suffix.lower())


def _index(text: str, where: str) -> int:
    """The class index of a .cls file."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        hint = f"a class's name may stand in a .json as `label`, where {NAMES} lists it"
        raise UserError(f"expected the .cls of {where} to be a class index, got {text[:40]!r}; {hint}")
    return int(text)


def _read_json(sample: Sample, content: bytes, where: str) -> None:
    """Take label and boxes out of a .json; what else it says is left alone."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        sample.malformed = f"its .json is malformed ({error})"
        return
    if not isinstance(said, dict):
        return
    label = said.get("label")
    if isinstance(label, bool) or not isinstance(label, int | str | None) or (isinstance(label, int) and label < 0):
        raise UserError(f"expected `label` in the .json of {where} to be a class index or a name, got {label!r:.40}")
    sample.label = label
    boxes = said.get("boxes") or []
    if not isinstance(boxes, list) or not all(map(_is_box, boxes)):
        raise UserError(f"expected `boxes` in the .json of {where} to be a list of [x0, y0, x1, y1], got {boxes!r:.60}")
    sample.boxes = [[float(value) for value in box] for box in boxes]


def _is_box(box: object) -> bool:
    numbers = isinstance(box, list) and all(isinstance(value, int | float) for value in box)
    return numbers and isinstance(box, list) and len(box) == 4 and all(map(math.isfinite, box))


def _entry(archive: Store, sample: Sample, names: Sequence[str], where: str) -> Entry | Unusable:
    """The entry of a sample, whose .cls and .json say one thing."""
    labels = dict(_labels(sample, names, where))
    if len(set(labels.values())) > 1:
        listed = " and ".join(f"class {label} in {source}" for source, label in labels.items())
        raise UserError(f"expected one label for {where}, got {listed}")
    if sample.malformed:
        return Unusable(sample.malformed)
    if not sample.picture:
        return Unusable(f"no image of .{', .'.join(PICTURES)}")
    if not labels:
        return Unusable("no label: neither a .cls nor a `label` in a .json")
    boxes = torch.tensor(sample.boxes, dtype=torch.float64).reshape(-1, 4) if sample.boxes else WITHOUT
    return Entry(StorePath(archive, sample.picture), next(iter(labels.values())), boxes)


def _labels(sample: Sample, names: Sequence[str], where: str) -> Iterator[tuple[str, int]]:
    """Class index by each file that says one."""
    if isinstance(sample.label, str):
        places = [index for index, name in enumerate(names) if name == sample.label.strip()]
        if len(places) != 1:
            known = f"one of the {len(names)} names in {NAMES}, once" if names else f"a class index (no {NAMES} here)"
            raise UserError(f"expected `label` in the .json of {where} to be {known}, got {sample.label[:40]!r}")
        yield ".json", places[0]
    for source, index in ((".json", sample.label), (".cls", sample.index)):
        if isinstance(index, int):
            if names and index >= len(names):
                raise UserError(f"expected the class in the {source} of {where} to be below {len(names)}, got {index}")
            yield source, index
