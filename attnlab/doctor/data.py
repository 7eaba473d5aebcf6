"""Data sets: where they were looked for, what was found, and what is missing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from attnlab.data import DATASETS, load_dataset
from attnlab.data.base import ImageSet
from attnlab.doctor.finding import Finding, from_error
from attnlab.errors import Unusable, UserError
from attnlab.registry import FORM
from attnlab.stores import Root, is_archive, is_pattern, open_root
from attnlab.words import counted, none_usable

TOPIC = "data"


def data(
    roots: Sequence[Root] = (), asked: str | None = None, split: str | None = None, label: str | None = None
) -> Iterator[Finding]:
    """The built-in scenes, and what lies in the roots, of the one data set asked for or of any.

    Of one that is asked for a split and a rule for labels may be named.
    """
    names = [name for name in DATASETS if not name.endswith(FORM)] if asked is None else [asked]
    looked_for = {name: DATASETS.expect(name) for name in names}
    for name, spec in looked_for.items():
        if not spec.holds:
            yield split_of(name, None, split or spec.split, label)
    others = [name for name, spec in looked_for.items() if spec.holds]
    if others and not roots:
        text = f"looked for in a --root only: {', '.join(others)}"
        yield Finding(TOPIC, "others", text, "attnlab doctor --root DIR", "note" if asked is None else "problem")
    for root in roots if others else ():
        yield from in_root(root, others, split, label)


def in_root(root: Root, names: Sequence[str], split: str | None = None, label: str | None = None) -> Iterator[Finding]:
    """Find which of those data sets, or one split of the only one, a folder, an archive or a URL holds."""
    named = root
    reading = [name for name in names if DATASETS[name].reads(root)]
    if reading and (is_pattern(root) or not is_archive(str(root))):
        yield from (split_of(name, root, split or DATASETS[name].split, label) for name in reading)
        return
    if not isinstance(root, Path) or is_archive(root.name):
        try:
            root = open_root(root)
        except UserError as error:
            yield from_error(TOPIC, str(root), error)
            return
    try:
        empty = next(root.iterdir(), None) is None
    except OSError as error:
        advice = "check --root, and that you may read it and enter every folder above it"
        yield Finding(TOPIC, str(root), f"cannot be read: {error.strerror}", advice, "problem")
        return
    if empty:
        yield Finding(TOPIC, str(root), "an empty folder", "check --root, and whether the disk is mounted", "problem")
        return
    splits = {name: dict.fromkeys((DATASETS[name].split, *DATASETS[name].splits)) for name in names}  # most used first
    if split is not None:
        splits = {name: {split: None} for name in names}
    roots = {name: named if DATASETS[name].reads(named) else root for name in names}
    found = {name: [split_of(name, roots[name], one, label) for one in splits[name]] for name in names}
    there = [name for name in names if any(split.state == "ok" for split in found[name])]
    for name in there:
        yield from (split if split.state == "ok" else split._replace(state="note") for split in found[name])
    absent = [name for name in names if name not in there]
    if there and absent:
        yield Finding(TOPIC, "", f"no {', '.join(absent)} there; --data NAME lists what is looked for")
    for name in () if there else absent:
        yield found[name][0]._replace(name=name)  # what is said of the first split holds for all


def split_of(name: str, root: Root | None, split: str, label: str | None = None) -> Finding:
    """Whether a split can be opened, and an image of it read."""
    title = f"{name} {split}"
    try:
        images = load_dataset(name, root, split, label)
        labels = [images.label_of(index) for index in range(len(images.image_ids))]
        usable = [index for index, label in enumerate(labels) if label is not None]
        if not usable:
            return Finding(TOPIC, title, none_usable(len(labels), "image"), _why_not(images), "problem")
        images.read(usable[0])
    except (UserError, Unusable, OSError, UnicodeDecodeError) as error:
        return from_error(TOPIC, title, error)
    text = counted(len(usable), "image") + (f" of {len(labels)} listed" if len(usable) < len(labels) else "")
    if boxes := getattr(images, "boxes_from", ""):
        text += f", boxes from {boxes}"
    where = f"in {root}" if root else "built in" if name in DATASETS else "from a library"
    return Finding(TOPIC, title, f"{text}, {where}")


def _why_not(images: ImageSet) -> str:
    """Why the first image cannot be used."""
    try:
        images.read(0)
    except Unusable as reason:
        return f"{images.image_ids[0]}: {reason}"
    return ""
