"""How an image and its boxes reach the model's size, and the samples and batches that come of it."""

import math
import signal
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from attnlab.arrays import Areas, Images, Labels
from attnlab.boxes import Array, clipped, doubts, frame_of, mask_of, rasterise, usable
from attnlab.compat import functional
from attnlab.data import RESIZINGS, TRUTHS, Size
from attnlab.data.bands import Bands
from attnlab.data.base import ImageSet
from attnlab.data.masks import Mask
from attnlab.errors import Unusable, UserError
from attnlab.failures import keeping
from attnlab.registry import loaded
from attnlab.words import counted


class Sample(NamedTuple):
    """One image at the model's size."""

    position: int  # index in the data set
    image_id: str
    pixels: Tensor  # 0 to 255, (C, H, W), uint8
    label: int
    boxes: Tensor  # usable boxes, half-open pixels of the sample, (B, 4), float32
    dropped_boxes: int  # number of boxes that were empty, inverted or outside the image
    mask: Tensor  # ground truth: the object's mask where it has one, else the union of the boxes, (H, W), bool
    box_share: float  # share of the ground truth's area that the crop left in the frame; NaN without any
    masked: bool = False  # whether the ground truth is the object's mask
    notes: tuple[str, ...] = ()  # warnings that are shown once, in words that follow "3 of 12 images"


class Skipped(NamedTuple):
    """One image that cannot be used, and why."""

    position: int
    image_id: str
    reason: str


class Batch(NamedTuple):
    """Samples side by side, and what was skipped among them.

    Only three fields are tensors, since each one that crosses from a worker process costs a file handle: pixels
    (N, C, H, W) uint8, labels (N,), masks (N, H, W) bool. The others are lists of N values of Sample.
    """

    positions: list[int]
    image_ids: list[str]
    boxes: list[list[list[float]]]
    dropped_boxes: list[int]
    box_shares: list[float]
    pixels: Tensor
    labels: Labels
    masks: Areas
    skipped: list[Skipped]
    masked: Sequence[bool] = ()
    notes: Sequence[tuple[str, ...]] = ()

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Images, Labels]:
        """Pixels in [0, 1], (N, C, H, W), float32, and labels, (N,), on a device, as a classifier takes them."""
        return self.pixels.to(device, non_blocking=True).float() / 255, self.labels.to(device)


def squash(_image: Size, size: Size) -> Size:
    """Resize to the model's size without keeping the aspect."""
    return size


def crop(image: Size, size: Size) -> Size:
    """Resize the shorter side to 8/7 of the model's (256 for 224, 342 for 299), for a cut out of the centre.

    Of a model whose images are not square, the side is meant that is the shorter of the two beside the model's.
    """
    (height, width), (rows, columns) = image, size
    if height * columns <= width * rows:
        side = round(rows * 8 / 7)
        return side, int(side * width / height)
    side = round(columns * 8 / 7)
    return int(side * height / width), side


@dataclass(frozen=True)
class ResizedDataset(Dataset["Sample | Skipped"]):
    """An image set at the model's size; what a DataLoader's workers read.

    With `truth` "mask" the ground truth of an image is its object's mask where it has one, else its boxes; with "box"
    its boxes, or where it has none the frame around its mask.
    """

    images: ImageSet
    size: Size  # height and width the model wants
    resize: str = "squash"
    truth: str = TRUTHS[0]

    def __getitem__(self, index: int) -> "Sample | Skipped":
        image_id = self.images.image_ids[index]
        try:
            example = self.images.read(index)
            stored, notes = example.boxes, example.notes
            needed = self.truth == "mask" or not len(stored)
            mask, why = example.mask_that_counts() if needed else (None, ())
        except Unusable as reason:
            return Skipped(index, image_id, str(reason))
        if mask is not None and not len(stored):
            stored = torch.tensor(frame_of(mask), dtype=torch.float64).reshape(-1, 4)
        notes = (*notes, *why)
        if mask is not None and not mask.any():
            notes = (*notes, "with an empty mask")
        boxes = usable(stored, *example.size)
        pixels, moved, share = place(example.image, boxes, self.size, self.resize)
        truth = mask_of(moved, *self.size)
        if masked := self.truth == "mask" and mask is not None:
            truth, share = place_mask(mask, self.size, self.resize)
        return Sample(
            position=index,
            image_id=image_id,
            pixels=pixels,
            label=example.label,
            boxes=moved,
            dropped_boxes=len(stored) - len(boxes),
            mask=truth,
            box_share=share,
            masked=masked,
            notes=(*notes, *doubts(stored, *example.size)),
        )

    def __len__(self) -> int:
        return len(self.images.image_ids)


def place(image: Image.Image | Bands, boxes: Tensor, size: Size, resize: str) -> tuple[Tensor, Tensor, float]:
    """Bring an image and its boxes, half-open pixels (B, 4) float64, to the model's size, each channel for itself.

    Returns pixels (C, H, W) uint8, the boxes that are still in the frame (B', 4) float32, and the share of the boxes'
    area that is, NaN without boxes.
    """
    bands = [image] if isinstance(image, Image.Image) else [Image.fromarray(band) for band in np.moveaxis(image, -1, 0)]
    stored = (bands[0].height, bands[0].width)
    frame = _frame_of(resize)(stored, size)
    bands = [functional.resize(band, list(frame)) for band in bands]
    if frame != size:
        bands = [functional.center_crop(band, list(size)) for band in bands]
    pixels = [functional.pil_to_tensor(band) for band in bands]
    moved, share = place_boxes(boxes.numpy(), stored, frame, size)
    return pixels[0] if len(pixels) == 1 else torch.cat(pixels), torch.from_numpy(moved), share


def place_boxes(boxes: Array, image: Size, frame: Size, size: Size) -> tuple[Array, float]:
    """Bring boxes from an image's size to that of a frame, of which the centre is cut out; see `place`.

    The arithmetic is that of torchvision's transforms, on arrays: for a few boxes their tensors take a millisecond.
    """
    if not len(boxes):
        return np.empty((0, 4), np.float32), math.nan
    # in float64, since edges that fall halfway between pixels must be seen to do so; torchvision scales in float32
    scaled = boxes * (*frame[::-1], *frame[::-1]) / (*image[::-1], *image[::-1])
    before = clipped(scaled, *frame).astype(np.float32)
    area = rasterise(before, *frame).sum()
    if frame == size:
        return before, float(area > 0)
    top, left = corner(frame, size)
    after = clipped(scaled - (left, top, left, top), *size).astype(np.float32)
    # no area: no box is a pixel wide at the model's size
    return after, float(rasterise(after, *size).sum() / area) if area else 0.0


@cache
def _frame_of(resize: str) -> Callable[[Size, Size], Size]:
    """The function of a name in RESIZINGS."""
    rule: Callable[[Size, Size], Size] = loaded(RESIZINGS[resize])
    return rule


def place_mask(mask: Mask, size: Size, resize: str) -> tuple[Tensor, float]:
    """Bring a mask to the model's size as `place` brings its image, by the nearest pixel, (H, W) bool.

    With it comes the share of its area that is still in the frame; NaN of an empty one.
    """
    frame = _frame_of(resize)((mask.shape[0], mask.shape[1]), size)
    picture = Image.fromarray(mask.astype(np.uint8)).resize(frame[::-1], Image.Resampling.NEAREST)
    resized = np.array(picture, bool)
    top, left = corner(frame, size)
    cut = np.ascontiguousarray(resized[top : top + size[0], left : left + size[1]])
    area, kept = np.count_nonzero(resized), np.count_nonzero(cut)
    lost = 0.0 if mask.any() else math.nan
    return torch.from_numpy(cut), kept / area if area else lost


def corner(frame: Size, size: Size) -> Size:
    """Row and column at which the centre of a frame begins that is cut out, as of torchvision's center_crop."""
    return round((frame[0] - size[0]) / 2), round((frame[1] - size[1]) / 2)


def collate(items: "Sequence[Sample | Skipped]") -> Batch:
    """Put samples side by side; images that cannot be used are left out and listed."""
    samples = [item for item in items if isinstance(item, Sample)]
    return Batch(
        positions=[sample.position for sample in samples],
        image_ids=[sample.image_id for sample in samples],
        boxes=[sample.boxes.tolist() for sample in samples],
        dropped_boxes=[sample.dropped_boxes for sample in samples],
        box_shares=[sample.box_share for sample in samples],
        pixels=torch.stack([sample.pixels for sample in samples]) if samples else torch.empty(0),
        labels=torch.tensor([sample.label for sample in samples], dtype=torch.long),
        masks=torch.stack([sample.mask for sample in samples]) if samples else torch.empty(0),
        skipped=[item for item in items if isinstance(item, Skipped)],
        masked=[sample.masked for sample in samples],
        notes=[sample.notes for sample in samples],
    )


def read_batch(
    images: ImageSet, size: Size, positions: Iterable[int] = range(8), resize: str = "squash", truth: str = TRUTHS[0]
) -> Batch:
    """Put some images of a set side by side, at a model's size.

    Args:
        images: Any image set.
        size: Height and width the model wants: a classifier's `input_size`.
        positions: Indices of the images; those that cannot be used are left out and listed.
        resize: A name in RESIZINGS.
        truth: A name in TRUTHS, see `ResizedDataset`.
    """
    prepared = ResizedDataset(images, size, resize, truth)
    return collate([prepared[position] for position in positions])


def load_batches(
    prepared: ResizedDataset, batches: Sequence[list[int]], workers: int, *, warn: bool = True
) -> Iterator[Batch]:
    """Read the batches in order, in worker processes unless `workers` is 0.

    After the last batch it warns, unless `warn` is False, of what was decided in reading, such as transparency shown
    over white. Reading on raises WorkerLost where a process was killed.
    """
    loader: Any = DataLoader(
        prepared,
        batch_sampler=batches,
        num_workers=min(workers, len(batches)),
        collate_fn=collate,
        worker_init_fn=_leave_interrupts_to_the_parent,
    )
    return _warning(iter(loader), warn)  # processes start now


def _warning(batches: Iterator[Batch], warn: bool) -> Iterator[Batch]:
    """The same batches; where asked for, a warning for each kind of note after the last."""
    noted: dict[str, list[str]] = defaultdict(list)
    total = 0
    with keeping(), _in_one_line():
        for batch in batches:
            total += len(batch.positions) + len(batch.skipped)
            for image_id, notes in zip(batch.image_ids, batch.notes, strict=False):
                for note in notes:
                    noted[note].append(image_id)
            yield batch
    for note, names in noted.items() if warn else ():
        shown = f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        warnings.warn(f"{len(names)} of {counted(total, 'image')} {note}: {shown}", stacklevel=2)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Raise a user's error in a worker process as it was raised there; torch puts a whole traceback into it."""
    try:
        yield
    except UserError as error:
        kind = type(error)
        last = str(error).strip().splitlines()[-1]
        raise kind(last.removeprefix(f"{kind.__module__}.{kind.__qualname__}: ")) from None


def _leave_interrupts_to_the_parent(_worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
