"""Training images: on the device where they are small, from worker processes where they are not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from attnlab.compat import functional
from attnlab.data.base import ImageSet
from attnlab.data.geometry import Prepared, load_batches
from attnlab.data.subset import choose
from attnlab.errors import UserError
from attnlab.seeds import seed_of

#: pixels a side that `crop-flip` moves an image by at most
BORDER = 4
#: bytes of pixels up to which a set is kept on the device
RESIDENT = 2_000_000_000


class Batch(NamedTuple):
    """Images to train on.

    Attributes:
        pixels: 0 to 255, (N, C, H, W), uint8.
        labels: (N,).
    """

    pixels: Tensor
    labels: Tensor


class Images(Protocol):
    """A set of training images."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def batches(self, order: Sequence[int], size: int) -> Iterator[Batch]:
        """Images in that order, given as places in this set; the last batch may be smaller."""
        ...


@dataclass(frozen=True)
class Resident:
    """Images that are all on the device.

    Attributes:
        pixels: (N, C, H, W), uint8.
        labels: (N,).
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def batches(self, order: Sequence[int], size: int) -> Iterator[Batch]:
        """Images in that order; the last batch may be smaller."""
        rows = torch.tensor(order, device=self.pixels.device)
        for at in range(0, len(order), size):
            yield Batch(self.pixels[rows[at : at + size]], self.labels[rows[at : at + size]])


@dataclass(frozen=True)
class Streamed:
    """Images that worker processes read from disk.

    Attributes:
        prepared: The images.
        positions: Indices of the images to use.
        device: Where batches go.
        workers: Number of processes.
    """

    prepared: Prepared
    positions: Sequence[int]
    device: torch.device
    workers: int

    def __len__(self) -> int:
        """Number of images."""
        return len(self.positions)

    def batches(self, order: Sequence[int], size: int) -> Iterator[Batch]:
        """Images in that order; where one cannot be read, another of its batch stands in."""
        places = [[self.positions[place] for place in order[at : at + size]] for at in range(0, len(order), size)]
        for wanted, batch in zip(places, load_batches(self.prepared, places, self.workers), strict=True):
            if not batch.positions:
                raise UserError(
                    f"none of the images {batch.skipped[0].image_id} ... can be used: {batch.skipped[0].reason}"
                )
            rows = torch.arange(len(wanted)) % len(batch.positions)
            yield Batch(batch.pixels[rows].to(self.device), batch.labels[rows].to(self.device))


def open_images(
    images: ImageSet, positions: Sequence[int], size: tuple[int, int], device: torch.device, workers: int
) -> Resident | Streamed:
    """Training images at a model's size, squashed; on the device if they are small enough.

    Raises:
        UserError: If none of them can be used.
    """
    prepared = Prepared(images, size)
    if len(positions) * images.channels * size[0] * size[1] > RESIDENT:
        return Streamed(prepared, positions, device, workers)
    batches = [list(positions[at : at + 500]) for at in range(0, len(positions), 500)]
    parts = [part for part in load_batches(prepared, batches, workers) if part.positions]
    if not parts:
        raise UserError(f"none of the {len(positions)} images of {images.name} can be used")
    pixels, labels = torch.cat([part.pixels for part in parts]), torch.cat([part.labels for part in parts])
    return Resident(pixels.to(device), labels.to(device))


def hold_out(images: ImageSet, count: int, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on and indices to validate on, the latter from all classes in turn.

    Raises:
        UserError: If nothing would be left to train on.
    """
    total = len(images.image_ids)
    if not 0 < count < total:
        raise UserError(f"expected from 1 to {total - 1} of {total} training images to be held out, got {count}")
    held = choose(images, count, stratify=True, seed=seed)
    kept = set(held)
    return [index for index in range(total) if index not in kept], held


def order_of(count: int, seed: int, epoch: int) -> list[int]:
    """The images' order in an epoch: it depends on the run's seed and the epoch alone."""
    generator = torch.Generator().manual_seed(seed_of(seed, f"epoch {epoch}") % 2**63)
    return torch.randperm(count, generator=generator).tolist()


def augmented(pixels: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """Images changed at random, each by itself.

    Args:
        pixels: (N, C, H, W).
        how: A name in AUGMENTATIONS, see `Plan`.
        generator: On the CPU.
    """
    if how == "none":
        return pixels
    count, _, height, width = pixels.shape
    mirrored = (torch.rand(count, generator=generator) < 0.5).to(pixels.device)
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    if how == "crop-flip":
        framed = functional.pad(pixels, [BORDER] * 4, padding_mode="reflect")
        moves = torch.randint(0, 2 * BORDER + 1, (2, count), generator=generator).to(pixels.device)
        rows = moves[0][:, None] + torch.arange(height, device=pixels.device)  # (N, H)
        columns = moves[1][:, None] + torch.arange(width, device=pixels.device)  # (N, W)
        images = torch.arange(count, device=pixels.device)[:, None, None]
        cut_out: Tensor = framed.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None]]
        return cut_out.permute(0, 3, 1, 2)
    cut = []
    for image in pixels:
        area, shape = torch.rand(2, generator=generator).tolist()
        share = 0.08 + 0.92 * area
        aspect = (3 / 4) ** (1 - 2 * shape)
        tall, wide = (min(1.0, (share * value) ** 0.5) for value in (1 / aspect, aspect))
        size = max(1, round(tall * height)), max(1, round(wide * width))
        room = (height - size[0], width - size[1])
        top, left = (int(torch.randint(0, free + 1, (), generator=generator)) for free in room)
        cut.append(functional.resized_crop(image, top, left, *size, [height, width], antialias=True))
    return torch.stack(cut)
