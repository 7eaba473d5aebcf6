"""The processes of `torchrun` that train together."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed

from attnlab.errors import UserError


@dataclass(frozen=True)
class World:
    """One of `size` processes that train one model, each on its share of every batch."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and tells progress."""
        return self.rank == 0

    def share(self, order: Sequence[int], batch_size: int) -> list[int]:
        """This process's images: of each batch of the order its own part.

        Raises:
            UserError: If a batch cannot be shared evenly.
        """
        if batch_size % self.size:
            raise UserError(f"expected a --batch-size that {self.size} processes can share evenly, got {batch_size}")
        part = batch_size // self.size
        starts = range(self.rank * part, len(order), batch_size)
        return [place for start in starts for place in order[start : start + part]]


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started, if it did; leave them at the end."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()
