"""Memory in which worker processes lay out batches, the same again and again.

A DataLoader takes fresh shared memory for each tensor of each batch. Touching it for the first time costs a tenth of
what decoding the images does.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

SLOTS = 3  # of each worker: a DataLoader has two batches of one on their way while a third is copied
WAIT = 0.001  # seconds between two looks at whether a slot is free


class Where(NamedTuple):
    """Place of a batch in the memory."""

    worker: int
    slot: int
    items: int  # how many


class SharedBatches:
    """Puts the arrays of items side by side in a worker, and takes the batch out in the parent.

    Each worker has SLOTS places for the arrays of a batch. It waits before it writes to one that the parent has not
    copied yet, however far ahead it is allowed to work.
    """

    def __init__(self, workers: int, images: int, shapes: Sequence[tuple[tuple[int, ...], torch.dtype]]) -> None:
        """Take the memory, before the workers are started.

        Args:
            workers: Their number.
            images: The largest number of items in a batch.
            shapes: Shape and type of each array of an item.
        """
        slots = (workers, SLOTS, images)
        self.arrays = [_shared(torch.empty(*slots, *shape, dtype=dtype)) for shape, dtype in shapes]
        self.taken = _shared(torch.zeros(workers, dtype=torch.int64))  # batches that the parent has copied
        self.made = 0  # batches of this worker

    def put(self, rows: Sequence[Sequence[Tensor]]) -> Where:
        """Lay out a batch in this worker's next slot, of each array those of all items; returns where, for `take`."""
        worker = get_worker_info()
        assert worker is not None
        while self.made - int(self.taken[worker.id]) >= SLOTS:
            time.sleep(WAIT)
        slot = self.made % SLOTS
        self.made += 1
        for array, items in zip(self.arrays, rows, strict=True):
            for place, item in zip(array[worker.id, slot], items, strict=False):
                if item.shape != place.shape:  # copying would spread it
                    raise ValueError(f"expected an array of shape {tuple(place.shape)}, got {tuple(item.shape)}")
                place.copy_(item)
        return Where(worker.id, slot, len(rows[0]))

    def take(self, where: Where) -> list[Tensor]:
        """Copy a batch's arrays, (N, ...), out of the slot, which is free then."""
        copies = [array[where.worker, where.slot, : where.items].clone() for array in self.arrays]
        self.taken[where.worker] += 1
        return copies


def _shared(tensor: Tensor) -> Tensor:
    """The tensor in memory that processes share."""
    tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor
