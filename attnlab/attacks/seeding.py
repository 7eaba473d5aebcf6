"""Random numbers of each image from its own seed, so that batch, order and company change none of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from attnlab.seeding import SEEDS


def uniform(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Numbers drawn uniformly from [0, 1), of that shape (N, ...), float32 on the CPU: row n by seed n alone."""
    draws = torch.empty(*shape, dtype=torch.float32)
    for row, seed in zip(draws, seeds, strict=True):
        row.uniform_(generator=torch.Generator().manual_seed(seed))
    return draws


def reseed(seeds: Sequence[int], turn: int) -> list[int]:
    """Another seed per image for each turn: what draws in turn 1 is independent of what drew in turn 0."""
    return [(seed + turn * 0x9E3779B97F4A7C15) % SEEDS for seed in seeds]
