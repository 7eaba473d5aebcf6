"""A folder of images and nothing else: no labels, no boxes."""

import torch

from attnlab.data.base import UNLABELLED, Anywhere, Entry, FileSet, as_id, list_images
from attnlab.errors import UserError


def images(root: Anywhere, split: str) -> FileSet:
    """Open all images below ROOT/SPLIT, or below ROOT where there is no such folder; their ids are their paths.

    Where folders of several splits lie in ROOT, the one of that name is read.
    """
    here = root / split if (root / split).is_dir() else root
    paths = list_images(here)
    if not paths:
        raise UserError(f"no images below {here}; expected files such as photo.jpg there, in folders or not")
    without = torch.empty(0, 4, dtype=torch.float64)
    return FileSet(
        name="images",
        classes=[],
        image_ids=[as_id(path.relative_to(here).as_posix()) for path in paths],
        entries=[Entry(path, UNLABELLED, without) for path in paths],
        has_boxes=False,
        upright=True,
    )
