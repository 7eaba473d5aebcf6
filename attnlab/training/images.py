"""Training images: on the device where they are small, from worker processes where they are not."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnlab.arrays import Labels
from attnlab.compat import functional
from attnlab.data.base import ImageSet
from attnlab.data.mnist_cifar import ArraySet
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.data.sampling import in_turn
from attnlab.errors import UserError
from attnlab.seeding import SEEDS, check_seed, seed_of
from attnlab.words import counted, none_usable

BORDER = 4  # pixels a side that `crop-flip` moves an image by at most
DRAWS = 5  # random numbers that an image's augmentation follows from
RESIDENT = 2_000_000_000  # bytes of pixels up to which a set is kept on the device


class Batch(NamedTuple):
    """Images to train on."""

    pixels: Tensor  # 0 to 255, (N, C, H, W), uint8
    labels: Labels


@dataclass(frozen=True)
class Resident:
    """Images that are all on the device."""

    pixels: Tensor  # 0 to 255, (N, C, H, W), uint8
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, order: Sequence[int], size: int) -> Iterator[Batch]:
        """Images in that order, given as indices of this set; the last batch may be smaller."""
        rows = torch.tensor(order, device=self.pixels.device)
        for at in range(0, len(order), size):
            yield Batch(self.pixels[rows[at : at + size]], self.labels[rows[at : at + size]])


@dataclass(frozen=True)
class Streamed:
    """Images that worker processes read from disk."""

    prepared: ResizedDataset
    positions: Sequence[int]  # indices of the images to use
    device: torch.device  # where batches go
    workers: int

    def __len__(self) -> int:
        return len(self.positions)

    def batches(self, order: Sequence[int], size: int) -> Iterator[Batch]:
        """Images in that order; where one cannot be read, another of its batch stands in."""
        batches = [[self.positions[index] for index in order[at : at + size]] for at in range(0, len(order), size)]
        for wanted, batch in zip(batches, load_batches(self.prepared, batches, self.workers), strict=True):
            if not batch.positions:
                raise UserError(
                    f"none of the images {batch.skipped[0].image_id} ... can be used: {batch.skipped[0].reason}"
                )
            for image in batch.skipped:
                warnings.warn(f"another image stands in for {image.image_id}: {image.reason}", stacklevel=2)
            rows = torch.arange(len(wanted)) % len(batch.positions)
            yield Batch(batch.pixels[rows].to(self.device), batch.labels[rows].to(self.device))


TrainingImages = Resident | Streamed


def open_images(
    images: ImageSet, positions: Sequence[int], size: tuple[int, int], device: torch.device, workers: int
) -> TrainingImages:
    """Training images at a model's size, squashed; on the device if they are small enough."""
    if isinstance(images, ArraySet) and images.size == size:  # nothing to read, nothing to resize
        pixels = torch.from_numpy(images.pixels[positions])
        pixels = pixels[:, None] if images.channels == 1 else pixels.permute(0, 3, 1, 2)
        return Resident(pixels.contiguous().to(device), torch.from_numpy(images.labels[positions]).long().to(device))
    prepared = ResizedDataset(images, size)
    if len(positions) * images.channels * size[0] * size[1] > RESIDENT:
        return Streamed(prepared, positions, device, workers)
    batches = [list(positions[at : at + 500]) for at in range(0, len(positions), 500)]
    read = list(load_batches(prepared, batches, workers))
    parts = [part for part in read if part.positions]
    skipped = [image for part in read for image in part.skipped]
    if not parts:
        (reason, count), *_ = Counter(image.reason for image in skipped).most_common(1) or [("there are none", 0)]
        which = "" if count == len(positions) else f", {count} of them"
        raise UserError(f"{none_usable(len(positions), 'image', images.name)}{which}: {reason}")
    if skipped:
        first = f"{skipped[0].image_id} ({skipped[0].reason})"
        warnings.warn(
            f"{len(skipped)} of {counted(len(positions), 'image')} cannot be used, such as {first}", stacklevel=2
        )
    pixels, labels = torch.cat([part.pixels for part in parts]), torch.cat([part.labels for part in parts])
    return Resident(pixels.to(device), labels.to(device))


def hold_out(images: ImageSet, count: int, seed: int, limit: int | None = None) -> tuple[list[int], list[int]]:
    """Indices to train on, at most `limit`, and `count` indices to validate on, both from all classes in turn.

    Samples of one file, such as its objects one by one, are all for the one or all for the other.
    """
    total = len(images.image_ids)
    if not 0 < count < total:
        raise UserError(f"expected --held-out from 1 to {total - 1}, there being {total} training images, got {count}")
    check_seed(seed)
    order = in_turn(images, seed)
    file_of = getattr(images, "file_of", lambda index: index)
    files = {index: file_of(index) for index in range(total)}
    of_file = defaultdict[Any, list[int]](list)
    for index in order:
        of_file[files[index]].append(index)
    held: list[int] = []
    kept = set()
    for index in order:
        if len(held) < count and files[index] not in kept:
            kept.add(files[index])
            held += of_file[files[index]]
    used = range(total) if limit is None else order
    left = [index for index in used if files[index] not in kept]
    return sorted(left[:limit]), sorted(held[:count])


def check_batch(images: int, batch_size: int) -> None:
    """Refuse fewer images than a batch."""
    if images < batch_size:
        raise UserError(
            f"expected at least a batch of {batch_size} training images, got {images}; a smaller --batch-size may do"
        )


def order_of(count: int, seed: int, epoch: int) -> list[int]:
    """The images' order in an epoch, which depends on the run's seed and the epoch alone."""
    generator = torch.Generator().manual_seed(seed_of(seed, f"epoch {epoch}") % SEEDS)
    return torch.randperm(count, generator=generator).tolist()


def augmented(pixels: Tensor, how: str, draws: Tensor) -> Tensor:
    """Images changed as a name in AUGMENTATIONS says, each by its own draws in [0, 1), (N, DRAWS)."""
    if how == "none":
        return pixels
    mirrored = (draws[:, 0] < 0.5).to(pixels.device)
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    return _moved(pixels, draws[:, 1:3]) if how == "crop-flip" else _zoomed(pixels, draws[:, 1:])


def _moved(pixels: Tensor, draws: Tensor) -> Tensor:
    """Each image moved by at most BORDER pixels, its reflection behind it; draws: down, across, (N, 2)."""
    height, width = pixels.shape[2:]
    framed = functional.pad(pixels, [BORDER] * 4, padding_mode="reflect")
    starts = (draws * (2 * BORDER + 1)).long().to(pixels.device)
    rows = starts[:, :1] + torch.arange(height, device=pixels.device)  # (N, H)
    columns = starts[:, 1:] + torch.arange(width, device=pixels.device)  # (N, W)
    images = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    cut: Tensor = framed.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None]]
    return cut.permute(0, 3, 1, 2)


def _zoomed(pixels: Tensor, draws: Tensor) -> Tensor:
    """A part of each image, enlarged to the whole; draws: area, aspect, place down and across, (N, 4)."""
    height, width = pixels.shape[2:]
    cut = []
    for image, (area, shape, down, across) in zip(pixels, draws.tolist(), strict=True):
        share, aspect = 0.08 + 0.92 * area, (3 / 4) ** (1 - 2 * shape)  # from 3/4 to 4/3
        tall, wide = (
            max(1, round(min(1.0, (share * part) ** 0.5) * side))
            for part, side in ((1 / aspect, height), (aspect, width))
        )
        top, left = int(down * (height - tall + 1)), int(across * (width - wide + 1))
        cut.append(functional.resized_crop(image, top, left, tall, wide, [height, width], antialias=True))
    return torch.stack(cut)
