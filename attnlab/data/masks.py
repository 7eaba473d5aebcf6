"""Where the mask of an image's object lies, read only when the image is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from attnlab.boxes import rasterise
from attnlab.data.decode import file_size
from attnlab.errors import Unusable
from attnlab.stores import StoreLost, StorePath

Mask = npt.NDArray[np.bool_]
"""Which pixels of an image belong to its object, (H, W)."""


ONE_CHANNEL = ("1", "L", "P", "I", "I;16")  # modes of pictures whose pixels are one number each


class MaskSource(Protocol):
    """The mask of an object, not decoded yet; its text tells two of them apart without decoding."""

    def decode(self, height: int, width: int) -> Mask:
        """The mask of an image of that size.

        Raises:
            Unusable: If it cannot be read, or is of another size.
        """


@dataclass(frozen=True)
class MaskFile:
    """A picture whose pixels say what they belong to: those of some values, or by default all that are not 0.

    Values are those stored: palette indices of a palette picture, grey levels of a grey one; of a colour picture or
    one with transparency a pixel belongs to the object where any colour is not 0 and it is not fully transparent.
    """

    path: Path | StorePath
    values: tuple[int, ...] = ()

    def __str__(self) -> str:
        """Path, size and values."""
        return f"{self.path.name} {file_size(self.path)} {self.values}"

    def decode(self, height: int, width: int) -> Mask:
        """The mask; its file must have the image's size."""
        name = self.path.name
        try:
            with Image.open(self.path.open() if isinstance(self.path, StorePath) else self.path) as picture:
                stored = np.asarray(picture if picture.mode in ONE_CHANNEL else picture.convert("RGBA"))
        except StoreLost:
            raise
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise Unusable(f"its mask {name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if stored.shape[:2] != (height, width):
            raise Unusable(f"its mask {name} is {stored.shape[1]}x{stored.shape[0]} pixels, the image {width}x{height}")
        if stored.ndim == 3:
            if self.values:
                raise Unusable(f"its mask {name} is in colours, where palette indices or grey levels were expected")
            return np.asarray(stored[..., :3].any(2) & (stored[..., 3] > 0))
        return np.isin(stored, self.values) if self.values else np.asarray(stored != 0)


@dataclass(frozen=True)
class BoxMask:
    """A box as a mask, for an object without one beside others that have one."""

    box: tuple[float, ...]  # half-open pixels

    def decode(self, height: int, width: int) -> Mask:
        """The box's pixels."""
        return rasterise(np.array([self.box]), height, width)


@dataclass(frozen=True)
class UnionMask:
    """What several masks cover together."""

    parts: Sequence[MaskSource]

    def __str__(self) -> str:
        """The texts of its parts."""
        return " ".join(map(str, self.parts))

    def decode(self, height: int, width: int) -> Mask:
        """The union."""
        union = np.zeros((height, width), bool)
        for part in self.parts:
            union |= part.decode(height, width)
        return union


def frame_of(mask: Mask) -> list[list[float]]:
    """The box around a mask, half-open pixels x0, y0, x1, y1; none of an empty one."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return [[float(columns[0]), float(rows[0]), columns[-1] + 1.0, rows[-1] + 1.0]] if len(rows) else []
