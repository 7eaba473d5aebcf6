"""Where the mask of an image's object lies, read only when the image is."""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import UnidentifiedImageError

from attnlab.boxes import frame_of, rasterise, same_aspect
from attnlab.data.decode import check_no_program, file_size, open_image, reason_of
from attnlab.errors import Unusable, UserError
from attnlab.stores import StoreLost, StorePath

Mask = npt.NDArray[np.bool_]
"""Which pixels of an image belong to its object, (H, W)."""


VOID = 255  # value of pixels that belong to no object, at borders and where it is not known
MOST = 1 << 30  # pixels of a mask
SAME = 0.2  # IoU from which on a mask's frame and a box are of one object: void borders make small masks smaller
LOSSY = ("JPEG", "MPO")  # formats of pictures whose pixels are about what was saved
ONE_CHANNEL = ("1", "L", "P", "I", "I;16")  # modes of pictures whose pixels are one number each


class NoMask(Exception):  # noqa: N818 - a fact about one image
    """A mask that does not count, so that the boxes do; its text follows "3 of 12 images"."""


class MaskSource(Protocol):
    """The mask of an object, not decoded yet; its text tells two of them apart without decoding."""

    def decode(self, height: int, width: int) -> Mask:
        """The mask of an image of that size.

        Raises:
            Unusable: If it cannot be read, or is of another size.
            NoMask: If it is not the object's.
        """


@dataclass(frozen=True)
class MaskFile:
    """A picture whose pixels say what they belong to: those of some values, or by default all that are not 0.

    Values are those stored: palette indices of a palette picture, whose first colour has to be black where no values
    are named, grey levels of a grey one; of a colour picture or one with transparency a pixel belongs to the object
    where any colour is not 0 and it is not fully transparent. A JPEG, whose values are not those that were saved, makes
    its image unusable. With `at_least` those belong to it that have at least that grey level, of 255. With `of_one` a
    picture of several values beside 0, such as of classes, makes its image unusable. With `objects` the picture shows
    that many, numbered from 1 on, 255 being void: a picture with other numbers is not the annotation's. With `within`,
    the object's box, a mask whose frame is another one is another object's.
    """

    path: Path | StorePath
    values: tuple[int, ...] = ()
    at_least: int = 0
    of_one: bool = False
    objects: int = 0
    within: "BoxMask | None" = None

    def __str__(self) -> str:
        """Path, size, and values or the lowest one."""
        which = f">= {self.at_least}" if self.at_least else str(self.values)
        return f"{self.path.name} {file_size(self.path)} {which}{f' of {self.objects}' if self.objects else ''}"

    def decode(self, height: int, width: int) -> Mask:
        """The mask; its file must have the image's size."""
        name = self.path.name
        try:
            with open_image(self.path) as picture:
                check_no_program(picture, f"its mask {name} is ")
                if picture.format in LOSSY:
                    raise Unusable(f"its mask {name} is a JPEG, which changes values at edges; save it as PNG")
                by_value = self.values or self.objects or self.at_least
                if picture.mode == "P" and not by_value and any((picture.getpalette() or [0])[:3]):
                    raise Unusable(f"the first colour of its mask {name} is not black, so which is 0 is not known")
                mode = "L" if self.at_least else picture.mode if picture.mode in ONE_CHANNEL else "RGBA"
                stored = np.asarray(picture if picture.mode == mode else picture.convert(mode))
        except (StoreLost, Unusable):
            raise
        except UnidentifiedImageError:
            raise Unusable(f"its mask {name} is no image that Pillow can read") from None
        except Exception as error:  # as of images
            raise Unusable(f"its mask {name} cannot be read: {reason_of(error)}") from None
        if stored.shape[:2] != (height, width):
            raise Unusable(f"its mask {name} is {stored.shape[1]}x{stored.shape[0]} pixels, the image {width}x{height}")
        levels = stored if stored.ndim == 2 else stored[..., :3].astype(int) @ (1 << 16, 1 << 8, 1)
        if self.of_one and len(values := np.unique(levels[levels > 0])) > 1:
            raise Unusable(f"its mask {name} has {len(values)} values beside 0, so which are the object's is not known")
        if stored.ndim == 3:
            if self.values:
                raise Unusable(f"its mask {name} is in colours, where palette indices or grey levels were expected")
            return np.asarray(stored[..., :3].any(2) & (stored[..., 3] > 0))
        if self.objects and {*np.unique(stored).tolist()} - {0, VOID} != {*range(1, self.objects + 1)}:
            raise NoMask("with other objects in its mask than in its annotation, so that boxes count")
        mask = np.isin(stored, self.values) if self.values else np.asarray(stored >= max(self.at_least, 1))
        if self.within and mask.any():
            frame, box = rasterise(np.array(frame_of(mask)), height, width), self.within.decode(height, width)
            if (frame & box).sum() < SAME * (frame | box).sum():
                raise NoMask("with a mask that lies elsewhere than its object's box, so that boxes count")
        return mask


@dataclass(frozen=True)
class BoxMask:
    """A box as a mask, for an object without one beside others that have one."""

    box: Sequence[float]  # half-open pixels
    size: tuple[int, int] | None = None  # height and width that it refers to; None: the image's own

    def decode(self, height: int, width: int) -> Mask:
        """The box's pixels; none where a number is missing."""
        of_height, of_width = self.size or (height, width)
        box = np.array([self.box]) * ([width / of_width, height / of_height] * 2)
        return rasterise(box[np.isfinite(box).all(1)], height, width)


@dataclass(frozen=True, slots=True)
class PolygonMask:
    """What polygons cover together, drawn as pycocotools draws them.

    Attributes:
        polygons: Of each the coordinates x, y, x, y ..., of three points at least, as `packed` gives them.
        size: Height and width they refer to, (1, 1) for fractions of the image; None: the image's own.
    """

    polygons: tuple[bytes, ...]
    size: tuple[int, int] | None = None

    def __str__(self) -> str:
        """A hash of the coordinates, and the size."""
        return f"polygons {_hash(self.polygons)} {self.size}"

    def decode(self, height: int, width: int) -> Mask:
        """The mask; coordinates are scaled to the image's size.

        Raises:
            UserError: If pycocotools is not there.
        """
        try:
            from pycocotools import mask as coco
        except ImportError:
            raise UserError(
                "expected pycocotools, which draws polygons, got none: pip install 'attnlab[coco]', or take the boxes "
                "with --truth box"
            ) from None
        rows, columns = self.size or (height, width)
        drawn = [np.frombuffer(points).reshape(-1, 2) * (width / columns, height / rows) for points in self.polygons]
        if any((np.abs(points) > 4 * max(height, width)).any() for points in drawn):  # which would fill the memory
            raise NoMask("with a polygon far outside of the image, so that boxes count")
        runs = coco.merge([coco.frPyObjects([points.ravel()], height, width)[0] for points in drawn])
        return RleMask(runs["counts"], (height, width), compressed=True).decode(height, width)


@dataclass(frozen=True, slots=True)
class RleMask:
    """Lengths of runs of pixels outside and inside by turns, column by column, as COCO writes masks.

    Attributes:
        counts: The lengths as `packed` gives them, or as text of pycocotools.
        size: Height and width.
        compressed: Whether it is text.
    """

    counts: bytes
    size: tuple[int, int]
    compressed: bool

    def __str__(self) -> str:
        """A hash of the runs, and the size."""
        return f"runs {_hash([self.counts])} {self.size}"

    def decode(self, height: int, width: int) -> Mask:
        """The mask, scaled to an image of the same aspect by the nearest pixel.

        pycocotools leaves what runs do not reach as the memory was, so that they are counted here.
        """
        rows, columns = self.size
        runs = _lengths(self.counts) if self.compressed else np.frombuffer(self.counts)
        if runs is None or (runs < 0).any() or runs.sum() != rows * columns or rows * columns > MOST:
            raise NoMask("with a mask whose runs do not fill it, so that boxes count")
        inside = np.arange(len(runs)) % 2 == 1
        mask = np.repeat(inside, runs.astype(np.int64)).reshape(columns, rows).T
        if self.size == (height, width):
            return mask
        if not same_aspect(self.size, (height, width)):
            raise Unusable(f"its mask is {columns}x{rows} pixels, the image {width}x{height}")
        nearest = (((np.arange(new) + 0.5) * old / new).astype(int) for old, new in ((rows, height), (columns, width)))
        return np.asarray(mask[np.ix_(*nearest)])


def packed(values: Iterable[float]) -> bytes:
    """Numbers as the bytes of float64; raises TypeError where one is none."""
    return array("d", values).tobytes()


def _lengths(text: bytes) -> npt.NDArray[np.int64] | None:
    """The runs of pycocotools' text; None where it ends within one.

    A character holds 5 bits, and a sixth that says whether more follow, lowest first and with a sign; from the fourth
    run on each is the difference from that two before.
    """
    bits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(bits) or bits.min() < 0 or bits.max() > 63 or bits[-1] & 32:
        return None
    last = np.flatnonzero(bits & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    place = 5 * (np.arange(len(bits)) - np.repeat(first, last - first + 1))
    if place.max() > 40:
        return None
    runs = np.add.reduceat((bits & 31) << place, first) - np.where(bits[last] & 16, 32 << place[last], 0)
    for start in (1, 2):
        runs[start::2] = runs[start::2].cumsum()
    return runs


def _hash(parts: Iterable[bytes]) -> str:
    """A hash that tells lists of bytes apart."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8) + part)
    return total.hexdigest()


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
