"""Data sets: a name and a split give labelled images, most with boxes."""

from collections.abc import Callable
from pathlib import Path

from attnlab.data.base import ImageSet, expect_unique
from attnlab.data.folder import folder
from attnlab.data.imagenet import imagenet
from attnlab.data.scenes import scenes
from attnlab.data.vision import cifar10, mnist
from attnlab.errors import expect_one_of

#: name -> function(root, split) that opens it
DATASETS: dict[str, Callable[[Path | None, str], ImageSet]] = {
    "scenes": scenes,
    "imagenet": imagenet,
    "folder": folder,
    "mnist": mnist,
    "cifar10": cifar10,
}


def load_data(name: str, root: Path | str | None = None, split: str = "val") -> ImageSet:
    """Open a split of a data set.

    Args:
        name: A name in DATASETS.
        root: Folder that holds its files; `scenes` needs none.
        split: Such as `train`, `val`, `test`.

    Raises:
        UserError: If the name or the split is unknown, files are missing, or two images share an id.
    """
    images = DATASETS[expect_one_of(name, DATASETS, "--data")](None if root is None else Path(root), split)
    expect_unique(images.image_ids, name)
    return images
