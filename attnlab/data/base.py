"""Protocol of every data set, and data sets that are lists of image files."""

import gc
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor

from attnlab.boxes import same_aspect
from attnlab.data.bands import Bands, channels_in
from attnlab.data.decode import UPRIGHT, decode, file_size
from attnlab.data.file_list import list_files
from attnlab.data.masks import Mask, MaskSource, NoMask
from attnlab.errors import Unusable, UserError
from attnlab.stores import StorePath
from attnlab.words import counted

IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
WITHOUT = torch.empty(0, 4, dtype=torch.float64)  # boxes of an image that has none

#: label of an image without one: the model's own prediction on the clean image stands for it
UNLABELLED = -(2**31)

#: a folder or file, all on this machine or all in one store
Anywhere = TypeVar("Anywhere", Path, StorePath)


@dataclass(frozen=True)
class Example:
    """One image as it is stored, before it is resized; unpacks to image, label and boxes."""

    image: Image.Image | Bands  # mode RGB, or L for a grey data set; or 8-bit values of any channels, (H, W, C)
    label: int
    boxes: Tensor  # of the label's object, half-open pixels of `image`, (B, 4), float64; B may be 0
    notes: tuple[str, ...] = ()  # what was decided in reading it, in words that follow "3 of 12 images"
    #: gives which pixels of `image` belong to the label's object, or raises Unusable or NoMask; None: only boxes known
    mask: Callable[[], Mask] | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.image, self.label, self.boxes))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return (self.image.height, self.image.width) if isinstance(self.image, Image.Image) else self.image.shape[:2]

    @property
    def channels(self) -> int:
        """Number of channels of the image."""
        return len(self.image.getbands()) if isinstance(self.image, Image.Image) else self.image.shape[2]

    def mask_that_counts(self) -> tuple[Mask | None, tuple[str, ...]]:
        """The mask, None where there is none or boxes count in its place, and why they do as notes; raises Unusable."""
        try:
            return (self.mask() if self.mask else None), ()
        except NoMask as reason:
            return None, (str(reason),)

    def picture(self) -> Image.Image:
        """The image as one that Pillow has; of more than three channels the first three, of two the first."""
        if isinstance(self.image, Image.Image):
            return self.image
        return Image.fromarray(self.image[..., :3] if self.channels > 2 else self.image[..., 0])


class ImageSet(Protocol):
    """A named list of labelled images that is read one by one, so that memory does not grow with its length."""

    @property
    def name(self) -> str:
        """Its name among the data sets."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names in the order of the labels; empty where the images come with bare class indices."""

    @property
    def image_ids(self) -> Sequence[str]:
        """Names of the images, in order."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width in pixels where all images share them."""

    @property
    def channels(self) -> int:
        """1 of grey images, 3 of colour ones, any number of others."""

    @property
    def has_boxes(self) -> bool:
        """Whether images come with ground truth, boxes or masks, at all."""

    def label_of(self, index: int) -> int | None:
        """Label of an image without reading it: a class index, or UNLABELLED; None where the image cannot be used."""

    def fingerprint(self) -> str:
        """SHA-256 of what is known of the images without opening each: names, labels, boxes, file sizes."""

    def read(self, index: int) -> Example:
        """Return the image of that index.

        Raises:
            Unusable: If this one image cannot be used.
        """


@dataclass(frozen=True)
class Entry:
    """Entry of a list of files: what is known of one image before it is opened."""

    path: Path | StorePath
    label: int
    boxes: Tensor  # half-open pixels, (B, 4), float64
    boxes_size: tuple[int, int] | None = None  # height and width the boxes refer to; None: the image's own
    mask: MaskSource | None = None
    notes: tuple[str, ...] = ()  # as of `Example`

    def __reduce__(self) -> tuple[Any, ...]:
        # boxes as numbers: pickled as a tensor, which is cut out of that of all images, they would come with all of it
        return _entry, (self.path, self.label, self.boxes.tolist(), self.boxes_size, self.mask, self.notes)


def _entry(path: Path | StorePath, label: int, boxes: Sequence[Sequence[float]], *others: Any) -> Entry:
    """An entry from what was pickled of it."""
    return Entry(path, label, torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4) if boxes else WITHOUT, *others)


@dataclass(frozen=True)
class FileSet:
    """Image files with labels and boxes.

    Attributes:
        box_corners: How the files give a box where that is not half-open pixels; runs record it.
        boxes_from: Where boxes were read from, where there is a choice.
        upright: Whether boxes refer to the picture turned as its EXIF orientation says.
        over_white: Whether transparent parts are shown over white; False drops the opacity, as older versions did.
        strict_aspect: Whether an image is left out whose `boxes_size` is not its own, scaled.
        out_of: Names, in its order, of the longer list of classes that a model may answer among, which is to answer
            among `classes` alone; empty where all its answers count.
        channels: Number of every image; those of others are left out.
    """

    name: str
    classes: Sequence[str]
    image_ids: Sequence[str]
    entries: Sequence[Entry | Unusable] = field(repr=False)
    size: tuple[int, int] | None = None
    channels: int = 3
    has_boxes: bool = True
    box_corners: str | None = None
    boxes_from: str = ""
    upright: bool = False
    over_white: bool = True
    strict_aspect: bool = False
    out_of: Sequence[str] = field(default=(), repr=False)

    @property
    def closed(self) -> bool:
        """Whether a model is to answer among `classes` alone."""
        return bool(self.out_of)

    @property
    def pixel_rule(self) -> str | None:
        """How pixels are read where older versions read others; runs record it."""
        return UPRIGHT if self.upright else None

    @property
    def labelled(self) -> bool:
        """Whether any image has a label."""
        labels = (self.label_of(index) for index in range(len(self.entries)))
        known = (label for label in labels if label is not None)
        first = next(known, None)
        return first != UNLABELLED or any(label != UNLABELLED for label in known)

    def label_of(self, index: int) -> int | None:
        """Label of an image without opening it; None where its entry says that it cannot be used."""
        entry = self.entries[index]
        return entry.label if isinstance(entry, Entry) else None

    def file_of(self, index: int) -> Any:
        """What tells the file of an image from others: objects that are images of their own may share one."""
        return getattr(self.entries[index], "path", index)

    def fingerprint(self) -> str:
        """SHA-256 of names, labels, boxes, masks and file sizes."""
        return digest(
            f"{image_id} {entry.label} {file_size(entry.path)} {entry.boxes.tolist()} {entry.boxes_size}"
            + (f" {entry.mask}" if entry.mask else "")
            if isinstance(entry, Entry)
            else f"{image_id} {entry.reason}"
            for image_id, entry in zip(self.image_ids, self.entries, strict=True)
        )

    def read(self, index: int) -> Example:
        """Decode one file; raises Unusable where that cannot be done."""
        entry = self.entries[index]
        if isinstance(entry, Unusable):
            raise entry
        image, notes = decode(entry.path, upright=self.upright, over_white=self.over_white)
        example = Example(image, entry.label, entry.boxes, (*notes, *entry.notes))
        if example.channels != self.channels:
            raise Unusable(f"{counted(example.channels, 'channel')}, where the data set has {self.channels}")
        own = height, width = example.size
        if entry.boxes_size is not None and entry.boxes_size != own:
            rows, columns = entry.boxes_size
            if self.strict_aspect:
                if not same_aspect(entry.boxes_size, own):
                    turned = "; as stored, before EXIF turns it?" if own == (columns, rows) else ""
                    raise Unusable(f"annotated as {columns}x{rows} pixels, the image is {width}x{height}{turned}")
                scaled = "of another size than annotated, to which boxes and masks are scaled"
                example = replace(example, notes=(*notes, scaled, *entry.notes))
            boxes = entry.boxes * torch.tensor([width / columns, height / rows] * 2, dtype=torch.float64)
            example = replace(example, boxes=boxes)
        return replace(example, mask=partial(entry.mask.decode, height, width)) if entry.mask else example


def channels_of(entries: Iterable[Entry | Unusable]) -> int:
    """Number of channels of a set of files: of the first whose header tells it; pictures have 3."""
    found = (channels_in(entry.path) for entry in entries if isinstance(entry, Entry))
    return next((channels for channels in found if channels is not None), 3)


def as_recorded(images: ImageSet, data: Mapping[str, Any]) -> tuple[ImageSet, str]:
    """The images as a run read them, whose version may be older, and how they are shown where that is another way now.

    An older version's `data` lacks box corners and how pixels are read.
    """
    if not isinstance(images, FileSet):
        return images, ""
    differences = []
    if images.box_corners and "box_corners" not in data:
        last = torch.tensor([0, 0, 1, 1], dtype=torch.float64)  # column and row, since corners are read as inclusive
        entries = [
            replace(entry, boxes=entry.boxes - last) if isinstance(entry, Entry) else entry for entry in images.entries
        ]
        images = replace(images, entries=entries, box_corners=None, over_white=False)
        differences.append("boxes are drawn as stored, without the last column and row that they have now")
    if images.pixel_rule and "pixel_rule" not in data:
        images = replace(images, upright=False, over_white=False)
        differences.append("pictures are shown as it read them, neither turned as EXIF says nor over white")
    return images, "; ".join(differences)


def digest(lines: Iterable[str]) -> str:
    """SHA-256 of the lines."""
    total = hashlib.sha256()
    for line in lines:
        total.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return total.hexdigest()


def as_id(name: str) -> str:
    """An image's id from its file's name, which keeps bytes that are no UTF-8 as escapes: records are text."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character of UTF-16, as a JSON can hold
        return name.encode("utf-8", "backslashreplace").decode()


def check_unique(image_ids: Sequence[str], name: str) -> None:
    """Refuse a data set that gives two images one id: records would be doubled, and files overwritten."""
    if len(set(image_ids)) < len(image_ids):
        twice, count = Counter(image_ids).most_common(1)[0]
        raise UserError(f"expected every image of {name} to have an id of its own, got {twice!r} for {count} images")


def suffix_of(name: str) -> str:
    """The last suffix of a file's name, in small letters, with its dot."""
    return os.path.splitext(name)[1].lower()


@contextmanager
def no_collection() -> Iterator[None]:
    """Pause Python's search for garbage in cycles, which takes as long as making a list of 50,000 entries does."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's does."""
    return suffix_of(name) in IMAGE_SUFFIXES


def list_images(folder: Anywhere) -> list[Anywhere]:
    """All image files below the folder, sorted by their path."""
    return sorted(folder / name for name in list_files(folder) if is_image(name))
