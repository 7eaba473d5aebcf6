"""Images at the model's size: the samples that are made of a data set, and batches of them."""

import atexit
import hashlib
import signal
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from attnlab.arrays import Areas, Images, Labels
from attnlab.boxes import clipped, doubts, frame_of, rasterise
from attnlab.data import TRUTHS, Size
from attnlab.data.base import ImageSet
from attnlab.data.placing import place, place_mask
from attnlab.data.regions import WHERE, lacks_region
from attnlab.data.shared_batches import SharedBatches, Where
from attnlab.errors import Unusable, UserError
from attnlab.failures import keeping
from attnlab.words import counted

FIRST = 8  # images of a batch that nobody chose
_reading: WeakSet[Any] = WeakSet()  # what `load_batches` gave and is still held


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
    sha256: bytes | None  # of the pixels, row by row, (H, W, C); None where nobody asked
    masked: bool = False  # whether the ground truth is the object's mask
    notes: tuple[str, ...] = ()  # warnings that are shown once, in words that follow "3 of 12 images"


class Skipped(NamedTuple):
    """One image that cannot be used, and why."""

    position: int
    image_id: str
    reason: str


class Batch(NamedTuple):
    """Samples side by side, and what was skipped among them.

    Pixels are (N, C, H, W) uint8, channels last in memory; labels (N,); masks (N, H, W) bool. The other fields are
    lists of N values of Sample.
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
    sha256: Sequence[bytes | None] = ()
    masked: Sequence[bool] = ()
    notes: Sequence[tuple[str, ...]] = ()

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Images, Labels]:
        """Pixels in [0, 1], (N, C, H, W), float32, and labels, (N,), on a device, as a classifier takes them."""
        return self.pixels.to(device, non_blocking=True).float() / 255, self.labels.to(device)


@dataclass(frozen=True)
class ResizedDataset(Dataset["Sample | Skipped"]):
    """An image set at the model's size; what a DataLoader's workers read.

    With `truth` "mask" the ground truth of an image is its object's mask where it has one, else its boxes; with "box"
    its boxes, or where it has none the frame around its mask. An image without the region `where` an attack may change
    it, a name in WHERE, is skipped. `hashed` images come with the SHA-256 of their pixels, for records.
    """

    images: ImageSet
    size: Size  # height and width the model wants
    resize: str = "squash"
    truth: str = TRUTHS[0]
    where: str = WHERE[0]
    hashed: bool = False

    def __getitem__(self, index: int) -> "Sample | Skipped":
        image_id = self.images.image_ids[index]
        try:
            example = self.images.read(index)
            # as plain numbers: for a few boxes each step on tensors takes longer
            stored, notes = example.boxes.tolist(), example.notes
            mask, why = example.mask_that_counts() if self.truth == "mask" or not stored else (None, ())
            if mask is not None and not stored:
                stored = frame_of(mask)
            boxes = clipped(stored, *example.size)
            pixels, moved, share = place(example.image, boxes, self.size, self.resize)
        except Unusable as reason:
            return Skipped(index, image_id, str(reason))
        notes = (*notes, *why)
        if mask is not None and not mask.any():
            notes = (*notes, "with an empty mask")
        if masked := self.truth == "mask" and mask is not None:
            truth, share = place_mask(mask, self.size, self.resize)
        else:
            truth = torch.from_numpy(rasterise(moved, *self.size))
        if lacking := lacks_region(self.where, truth):
            return Skipped(index, image_id, lacking)
        return Sample(
            position=index,
            image_id=image_id,
            pixels=pixels,
            label=example.label,
            boxes=torch.from_numpy(moved),
            dropped_boxes=len(stored) - len(boxes),
            mask=truth,
            box_share=share,
            sha256=hashlib.sha256(pixels.permute(1, 2, 0).numpy().tobytes()).digest() if self.hashed else None,
            masked=masked,
            notes=(*notes, *doubts(stored, *example.size)),
        )

    def __len__(self) -> int:
        return len(self.images.image_ids)


def collate(items: "Sequence[Sample | Skipped]") -> Batch:
    """Put samples side by side; images that cannot be used are left out and listed."""
    return _batch(_about(items), *(torch.stack(rows) if rows else torch.empty(0) for rows in _arrays(items)))


def _arrays(items: "Sequence[Sample | Skipped]") -> list[list[Tensor]]:
    """Pixels, (H, W, C) as Pillow has them, which is copied in half the time, and masks, (H, W), of all samples."""
    samples = [item for item in items if isinstance(item, Sample)]
    return [[sample.pixels.permute(1, 2, 0) for sample in samples], [sample.mask for sample in samples]]


def _about(items: "Sequence[Sample | Skipped]") -> dict[str, list[Any]]:
    """What a batch has beside those arrays, without a tensor: each that leaves a process costs a file handle."""
    samples = [item for item in items if isinstance(item, Sample)]
    return {
        "positions": [sample.position for sample in samples],
        "image_ids": [sample.image_id for sample in samples],
        "boxes": [sample.boxes.tolist() for sample in samples],
        "dropped_boxes": [sample.dropped_boxes for sample in samples],
        "box_shares": [sample.box_share for sample in samples],
        "labels": [sample.label for sample in samples],
        "skipped": [item for item in items if isinstance(item, Skipped)],
        "sha256": [sample.sha256 for sample in samples],
        "masked": [sample.masked for sample in samples],
        "notes": [sample.notes for sample in samples],
    }


def _batch(about: dict[str, list[Any]], pixels: Tensor, masks: Tensor) -> Batch:
    """A batch of what it has beside its arrays, its pixels, (N, H, W, C), and its masks."""
    labels = torch.tensor(about.pop("labels"), dtype=torch.long)
    if not len(labels):
        return Batch(**about, labels=labels, pixels=torch.empty(0), masks=torch.empty(0))
    return Batch(**about, labels=labels, pixels=pixels.permute(0, 3, 1, 2), masks=masks)


def read_batch(
    images: ImageSet,
    size: Size,
    positions: Iterable[int] | None = None,
    resize: str = "squash",
    truth: str = TRUTHS[0],
) -> Batch:
    """Put some images of a set side by side, at a model's size.

    Args:
        images: Any image set.
        size: Height and width the model wants: a classifier's `input_size`.
        positions: Indices of the images, by default the first eight; those that cannot be used are left out and listed.
        resize: A name in RESIZINGS.
        truth: A name in TRUTHS, see `ResizedDataset`.

    Raises:
        UserError: If the set has fewer images than a position asks for.
    """
    count = len(images.image_ids)
    chosen = range(min(FIRST, count)) if positions is None else list(positions)
    if beyond := [position for position in chosen if not -count <= position < count]:
        raise UserError(f"expected positions below {count}, the number of images, got {beyond[0]}")
    prepared = ResizedDataset(images, size, resize, truth)
    return collate([prepared[position] for position in chosen])


def load_batches(
    prepared: ResizedDataset, batches: Sequence[list[int]], workers: int, *, warn: bool = True
) -> Iterator[Batch]:
    """Read the batches in order, in worker processes unless `workers` is 0.

    After the last batch it warns, unless `warn` is False, of what was decided in reading, such as transparency shown
    over white. Reading on raises WorkerLost where a process was killed. The processes end with the last batch, an
    error, or when the iterator is closed.
    """
    workers = min(workers, len(batches))
    arrays = [((*prepared.size, prepared.images.channels), torch.uint8), (prepared.size, torch.bool)]
    shared = SharedBatches(workers, max(map(len, batches), default=0), arrays) if workers else None
    loader: Any = DataLoader(
        prepared,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=partial(_put, shared) if shared else collate,
        worker_init_fn=_leave_signals_to_the_parent,
    )
    read = iter(loader)  # processes start now
    reading = _warning(_taken(shared, read) if shared else read, warn)
    _reading.add(reading)
    return reading


def _put(shared: SharedBatches, items: "Sequence[Sample | Skipped]") -> tuple[Where, dict[str, list[Any]]]:
    """Put the arrays of a batch into the memory that a worker shares with its parent; the rest is sent."""
    return shared.put(_arrays(items)), _about(items)


def _taken(shared: SharedBatches, read: Any) -> Iterator[Batch]:
    """The batches that worker processes put there; they end with it."""
    try:
        for where, about in read:
            yield _batch(about, *shared.take(where))
    finally:
        read._shutdown_workers()  # as torch does once it is garbage, which may be after its queues, and in vain


@atexit.register
def _end_processes() -> None:
    """End those that still read: Python would wait for them at its end, since they ignore the SIGTERM it sends."""
    for batches in list(_reading):
        batches.close()


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


def _leave_signals_to_the_parent(_worker: int) -> None:
    """Ignore Ctrl-C, and the first SIGTERM: clusters send it to all processes, and the parent may save first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
