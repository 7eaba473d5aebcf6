"""Corrupt a batch of images, each by its own seed."""

from collections.abc import Sequence
from math import log

import numpy as np
import torch

from attnlab.arrays import Images
from attnlab.attacks.corruptions import CORRUPTIONS, SIDES, Corruption
from attnlab.attacks.corruptions.noise import Pixels
from attnlab.errors import UserError

LEAST_SIDE = 16  # of images that a corruption may meet: the widest kernel still fits


def corrupted(images: Images, corruption: Corruption, seeds: Sequence[int]) -> Images:
    """Corrupted images in [0, 1], whole grey levels, (N, C, H, W); row n by seed n alone.

    The constants are those of the published side that is nearest to the image's shorter one by ratio. Levels are cut
    off to whole ones, as the authors do. An image of one channel is shown in three equal ones, and leaves with the
    green.

    Args:
        images: Pixels in [0, 1], rounded to whole grey levels first, (N, 1 or 3, H, W).
        corruption: Kind and severity.
        seeds: Of each image's random numbers.

    Raises:
        UserError: If the images have another number of channels or are too small, or frost lacks its photographs.
    """
    kind = CORRUPTIONS[corruption.corruption]
    channels, *sides = images.shape[1:]
    if channels not in (1, 3):
        raise UserError(f"expected images of 1 or 3 channels for {corruption}, got {channels}")
    if min(sides) < LEAST_SIDE:
        raise UserError(f"expected images of at least {LEAST_SIDE} pixels a side for {corruption}, got {min(sides)}")
    constants = kind.constants[published_side(min(sides))][corruption.severity - 1]
    made = []
    levels = (images.detach().float().cpu() * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
    for image, seed in zip(levels.permute(0, 2, 3, 1).numpy(), seeds, strict=True):
        pixels: Pixels = kind.run(np.ascontiguousarray(image), constants, random_numbers(seed))
        made.append(torch.from_numpy(pixels.astype(np.uint8)).permute(2, 0, 1))
    batch = torch.stack(made) if channels == 3 else torch.stack(made)[:, 1:2]
    return (batch.float() / 255).to(images).contiguous()


def published_side(side: int) -> int:
    """The side of published images nearest to this one by ratio."""
    return min(SIDES, key=lambda known: abs(log(side / known)))


def random_numbers(seed: int) -> np.random.RandomState:
    """An image's own stream of the authors' kind, `numpy.random`; a seed below 2**32 is numpy's own."""
    return np.random.RandomState([seed % 2**32, seed >> 32] if seed >> 32 else seed)
