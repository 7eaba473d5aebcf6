"""Grey images as colour ones, and colour ones as grey, where the user says that a model takes them so."""

from dataclasses import dataclass, replace
from typing import Any, cast

from attnlab.data.base import Example, ImageSet

#: of Pillow, by number of channels: grey values three times, or the luminance of colours (ITU-R BT.601)
MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Converted:
    """An image set, its images converted as they are read; all else is the set's."""

    images: ImageSet
    channels: int

    def read(self, index: int) -> Example:
        """Return the image of that index, as Pillow converts it."""
        example = self.images.read(index)
        return replace(example, image=example.picture().convert(MODES[self.channels]))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "images":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.images, name)


def with_channels(images: ImageSet, channels: int | None) -> ImageSet:
    """The images with so many channels where they are grey or in colour and these are too; else as they are."""
    if channels is None or channels == images.channels or not {channels, images.channels} <= {*MODES}:
        return images
    return cast(ImageSet, Converted(images, channels))
