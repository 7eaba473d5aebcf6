"""Test sets for models of ImageNet's 1,000 classes: ImageNet-V2, -A, -R and -C, without boxes."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from attnlab.compat import torchvision
from attnlab.data.base import Anywhere, FileSet
from attnlab.data.class_folders import folders_in, images_by_class, labelled, short_ids
from attnlab.errors import UserError, nearest
from attnlab.stores import StorePath

SEVERITIES = ("1", "2", "3", "4", "5")
#: how the folders of ImageNet-V2's archives are called, around the split
V2_FOLDER = "imagenetv2-{}-format-val"


def imagenet_v2(root: Anywhere, split: str) -> FileSet:
    """Open ImageNet-V2 (Recht et al. 2019): ROOT/imagenetv2-SPLIT-format-val, ROOT/SPLIT, or ROOT of that split.

    Its folders are called by ImageNet's class indices, 0 to 999, or by wnids.
    """
    folder = next((root / name for name in (V2_FOLDER.format(split), split) if (root / name).is_dir()), None)
    before, after = V2_FOLDER.split("{}")
    if folder is None:
        inside = [name.removeprefix(before).removesuffix(after) for name in folders_in(root) if name.startswith(before)]
        meant = root.name.removeprefix(before).removesuffix(after) if root.name.startswith(before) else split
        if inside or meant != split:
            there = inside or [meant]
            raise UserError(f"expected --split {' or '.join(there)} of {root}, got {split!r}{nearest(split, there)}")
    return _of_wnids("imagenet-v2", folder or root, numbered=True)


def imagenet_a(root: Anywhere, _split: str) -> FileSet:
    """Open ImageNet-A (Hendrycks et al. 2021): ROOT/WNID/... or ROOT/imagenet-a/WNID/..., of 200 classes.

    As its authors' code measures it, a model of ImageNet's 1,000 classes answers among the 200.
    """
    return _of_wnids("imagenet-a", _inner(root, "imagenet-a"), mark="a")


def imagenet_r(root: Anywhere, _split: str) -> FileSet:
    """Open ImageNet-R (Hendrycks et al. 2021): ROOT/WNID/... or ROOT/imagenet-r/WNID/..., as `imagenet_a`."""
    return _of_wnids("imagenet-r", _inner(root, "imagenet-r"), mark="r")


def imagenet_c(root: Anywhere, split: str) -> FileSet:
    """Open ImageNet-C (Hendrycks and Dietterich 2019): ROOT/CORRUPTION/SEVERITY/WNID/..., also in folders of groups.

    A split is CORRUPTION/SEVERITY, such as gaussian_noise/3. Images have the ids of ImageNet's validation images.
    """
    if f"{root.parent.name}/{root.name}" == split:
        return _of_wnids("imagenet-c", root, short=True)
    severities = {folder.name: [level for level in folders_in(folder) if level in SEVERITIES] for folder in _all(root)}
    folders = {f"{folder.name}/{level}": folder / level for folder in _all(root) for level in severities[folder.name]}
    if split not in folders:
        listed = "; ".join(f"{name}/{','.join(levels)}" for name, levels in severities.items() if levels)
        raise UserError(
            f"expected --split to be one of {root} as CORRUPTION/SEVERITY ({listed or 'there are none'}), got {split!r}"
            f"{nearest(split, folders)}"
        )
    return _of_wnids("imagenet-c", folders[split], short=True)


def _all(root: Anywhere) -> Iterator[Anywhere]:
    """Folders that may be a corruption: the root, those in it, and those in these."""
    yield root
    for folder in (root / name for name in folders_in(root)):
        yield folder
        yield from (folder / name for name in folders_in(folder))


def _inner(root: Anywhere, name: str) -> Anywhere:
    return root / name if (root / name).is_dir() else root


@cache
def _places(mark: str) -> dict[str, int]:
    """Wnid -> index among ImageNet's classes, of those with a mark; of all without one."""
    lines = Path(__file__).with_name("imagenet_wnids.txt").read_text(encoding="utf-8").splitlines()
    marked = [(*line.split(), "")[:2] for line in lines]
    return {wnid: index for index, (wnid, marks) in enumerate(marked) if mark in marks}


def _of_wnids(
    name: str, folder: Path | StorePath, *, mark: str = "", numbered: bool = False, short: bool = False
) -> FileSet:
    """Images below FOLDER/WNID, labelled as ImageNet numbers them, or in the order of those with a mark alone.

    Args:
        name: Of the data set.
        folder: That holds a folder per class; some may be missing.
        mark: Of its classes in imagenet_wnids.txt; empty for all.
        numbered: Whether the folders may be called by class indices.
        short: Whether ids are names of files rather than paths.
    """
    places = _places(mark)
    labels = {wnid: label for label, wnid in enumerate(places)}
    found = {key: paths for key, paths in images_by_class(folder).items() if paths}
    if numbered and all(key.isascii() and key.isdecimal() for key in found):
        labels = {str(label): label for label in range(len(places))}
    unknown = next((key for key in found if key not in labels), None)
    if unknown is not None or not found:
        got = f"{unknown!r} with images" if found else "none with images"
        like = f"{next(iter(places))}{' or 0' if numbered else ''}"
        classes = f"the {len(places)} classes of {name}, such as {like}"
        raise UserError(f"expected folders in {folder} called as {classes}, got {got}")
    names = torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"]
    images = labelled(name, folder, found, labels, [names[place] for place in places.values()])
    ids = short_ids(images.image_ids) if short else images.image_ids
    return replace(images, image_ids=ids, out_of=names if mark else ())
