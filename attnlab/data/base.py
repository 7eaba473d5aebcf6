"""What every data set offers, and how one image file is read."""

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from attnlab.errors import Unusable, UserError

IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


class Example(NamedTuple):
    """One image as it is stored, before geometry.

    Attributes:
        image: Mode RGB, or L for a grey data set.
        label: Class index.
        boxes: Boxes of the label's object, half-open pixels of `image`, (B, 4), float64; B may be 0.
    """

    image: Image.Image
    label: int
    boxes: Tensor


class ImageSet(Protocol):
    """A named list of labelled images that is read one by one, so that memory does not grow with its length."""

    @property
    def name(self) -> str:
        """Its name among the data sets."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Class names in the order of the labels; empty where the images come with bare class indices."""
        ...

    @property
    def image_ids(self) -> Sequence[str]:
        """Names of the images, in order."""
        ...

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width in pixels where all images share them."""
        ...

    @property
    def channels(self) -> int:
        """1 or 3."""
        ...

    @property
    def has_boxes(self) -> bool:
        """Whether images come with boxes at all."""
        ...

    def label_of(self, index: int) -> int | None:
        """Label of an image without reading it; None where the image cannot be used."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 of what is known of the images without opening each: names, labels, boxes, file sizes."""
        ...

    def read(self, index: int) -> Example:
        """Return the image of that index.

        Raises:
            Unusable: If this one image cannot be used.
        """
        ...


@dataclass(frozen=True)
class Entry:
    """What a list of files knows of one image before it is opened."""

    path: Path
    label: int
    boxes: Tensor  # half-open pixels, (B, 4), float64
    boxes_size: tuple[int, int] | None = None  # height and width the boxes refer to; None: the image's own


@dataclass(frozen=True)
class FileSet:
    """Image files with labels and boxes.

    Attributes:
        box_corners: How the files give a box where that is not half-open pixels; runs record it.
    """

    name: str
    classes: Sequence[str]
    image_ids: Sequence[str]
    entries: Sequence[Entry | Unusable] = field(repr=False)
    size: tuple[int, int] | None = None
    channels: int = 3
    has_boxes: bool = True
    box_corners: str | None = None

    def label_of(self, index: int) -> int | None:
        """Label of an image without opening it; None where its entry says that it cannot be used."""
        entry = self.entries[index]
        return entry.label if isinstance(entry, Entry) else None

    def fingerprint(self) -> str:
        """SHA-256 of names, labels, boxes and file sizes."""
        return digest(
            f"{image_id} {entry.label} {_bytes(entry.path)} {entry.boxes.tolist()} {entry.boxes_size}"
            if isinstance(entry, Entry)
            else f"{image_id} {entry}"
            for image_id, entry in zip(self.image_ids, self.entries, strict=True)
        )

    def read(self, index: int) -> Example:
        """Decode one file; raises Unusable where that cannot be done."""
        entry = self.entries[index]
        if isinstance(entry, Unusable):
            raise entry
        image = open_rgb(entry.path)
        boxes = entry.boxes
        if entry.boxes_size is not None:
            height, width = entry.boxes_size
            boxes = boxes * torch.tensor([image.width / width, image.height / height] * 2, dtype=torch.float64)
        return Example(image, entry.label, boxes)


def digest(lines: Iterable[str]) -> str:
    """SHA-256 of the lines."""
    total = hashlib.sha256()
    for line in lines:
        total.update(line.encode() + b"\n")
    return total.hexdigest()


def open_rgb(path: Path) -> Image.Image:
    """Decode an image file to RGB.

    Raises:
        Unusable: If it is truncated, no image, too large to be honest, or deeper than 8 bits a channel.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as on damaged EXIF data, which nothing here reads
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.mode[0] in "IF":  # I, I;16, F: RGB would clip their range
                    raise Unusable(f"more than 8 bits a channel (mode {image.mode})")
                return image.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable("more pixels than Pillow's limit against decompression bombs") from None
    except UnidentifiedImageError:
        raise Unusable("no image that Pillow can read" if _bytes(path) else "the file is empty") from None
    except (OSError, SyntaxError, ValueError) as error:  # the decoders raise all three
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise Unusable(f"cannot be decoded: {reason}") from None


def _bytes(path: Path) -> int | None:
    """Size of a file; None where even that cannot be had, as of a link to nowhere."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def list_images(folder: Path) -> list[Path]:
    """All image files below the folder, sorted by their path."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def require_root(root: Path | None, name: str, holds: str) -> Path:
    """The folder that holds the data.

    Raises:
        UserError: If none was given or it does not exist.
    """
    if root is None:
        raise UserError(f"data set {name!r} needs --root DIR, the folder that holds {holds}")
    if not root.is_dir():
        raise UserError(f"expected --root to be an existing folder, got {str(root)!r}")
    return root
