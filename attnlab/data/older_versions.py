"""Image files as older versions of attnlab read them, so that what their runs measured can be seen again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from attnlab.data.base import Entry, FileSet, ImageSet

#: what boxes gained at their right and lower edges when corners came to be read as inclusive
LAST_PIXEL = torch.tensor([0, 0, 1, 1], dtype=torch.float64)


def as_recorded(images: ImageSet, data: Mapping[str, Any]) -> tuple[ImageSet, str]:
    """The images as a run read them.

    Args:
        images: As they are read now.
        data: What the run says of its data; an older version says nothing of box corners and of how pixels are read.

    Returns:
        The images, and how they are shown where that is not how they are read now; empty where it is.
    """
    if not isinstance(images, FileSet):
        return images, ""
    told = []
    if images.box_corners and "box_corners" not in data:
        entries = [
            replace(entry, boxes=entry.boxes - LAST_PIXEL) if isinstance(entry, Entry) else entry
            for entry in images.entries
        ]
        images = replace(images, entries=entries, box_corners=None, over_white=False)
        told.append("boxes are drawn as stored, without the last column and row that they have now")
    if images.pixel_rule and "pixel_rule" not in data:
        images = replace(images, upright=False, over_white=False)
        told.append("pictures are shown as it read them, neither turned as EXIF says nor over white")
    return images, "; ".join(told)
