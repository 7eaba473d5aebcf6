"""What Square Attack tries in an L2 ball (Andriushchenko et al. 2020, algorithms 1, 3 and 4)."""

from functools import lru_cache

import torch
from torch import Tensor

from attnlab.arrays import Images
from attnlab.attacks.balls import column, euclidean

TINY = 1e-12  # beside a norm that is divided by
TILES = 5  # in the first point, along the height


def tiles(height: int, width: int) -> int:
    """How many tiles cover the first point of an image of that size."""
    side = _tile(height)
    return (height // side) * (width // side)


def _tile(height: int) -> int:
    return max(height // TILES, 1)


def tiled(images: Images, eps: float, draws: Tensor) -> Images:
    """First points: a pattern on each tile, lying or standing, of one sign per channel."""
    count, channels, height, width = images.shape
    side = _tile(height)
    down, across = height // side, width // side
    draws = draws.view(count, down, across, 1 + channels)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    change = torch.zeros_like(images)
    for row in range(down):
        for place in range(across):
            tile = _patterns(draws[:, row, place], side).to(images)
            y, x = top + row * side, left + place * side
            change[:, :, y : y + side, x : x + side] = tile
    return _to_sphere(images, change, eps)


def moved(best: Images, images: Images, eps: float, draws: Tensor, side: int) -> Images:
    """Points to try: a window gets a new pattern on top of its own, and the length of another one, which is emptied."""
    _, channels, height, width = images.shape
    change = best - images
    places = [_window(draws[:, 2 * i : 2 * i + 2], side, channels, height, width) for i in range(2)]
    here, there = places
    inside = torch.zeros_like(change)
    for place in places:
        inside[place] = 1
    of_both = (change * inside).square().sum((2, 3), keepdim=True)  # of each channel, (n, C, 1, 1)
    spare = (eps**2 - column(euclidean(change)).square()).clamp_(min=0)
    own = change[here]
    pattern = _patterns(draws[:, 4:], side).to(images) + own / (TINY + _size(own))
    pattern = pattern / (TINY + _size(pattern)) * (spare / channels + of_both).sqrt()
    change[there] = 0
    change[here] = pattern
    return _to_sphere(images, change, eps)


def _to_sphere(images: Images, change: Tensor, eps: float) -> Images:
    """Images with changes of length eps, before the pixel range cuts them."""
    return (images + eps * change / (column(euclidean(change)) + TINY)).clamp_(0, 1)


def _size(windows: Tensor) -> Tensor:
    """Length of each channel, (n, C, 1, 1)."""
    return windows.square().sum((2, 3), keepdim=True).sqrt()


def _window(draws: Tensor, side: int, channels: int, height: int, width: int) -> tuple[Tensor, ...]:
    """Index of a square window of each image, from its two draws."""
    along = torch.arange(side, device=draws.device)
    top, left = (
        (draws[:, i] * (length - side + 1)).long()[:, None] + along for i, length in enumerate((height, width))
    )
    images = torch.arange(len(draws), device=draws.device)
    return (
        images[:, None, None, None],
        torch.arange(channels, device=draws.device)[:, None, None],
        top[:, None, :, None],
        left[:, None, None, :],
    )


def _patterns(draws: Tensor, side: int) -> Tensor:
    """Patterns of length 1 in each channel, (n, C, side, side), from draws of direction and signs, (n, 1 + C)."""
    pattern = _pattern(side).to(draws.device)
    lying = (draws[:, :1] > 0.5)[:, :, None, None]
    signs = torch.where(draws[:, 1:] < 0.5, -1.0, 1.0)[:, :, None, None]
    return torch.where(lying, pattern.T, pattern) * signs


@lru_cache
def _pattern(side: int) -> Tensor:
    """A bump above its opposite, of length 1, (side, side)."""
    both = torch.cat((_bump(side // 2, side), -_bump(side - side // 2, side)))
    return both / both.square().sum().sqrt()


def _bump(height: int, width: int) -> Tensor:
    """Rings around the middle that fall off by the squares of their radii, of length 1."""
    down = (torch.arange(height, dtype=torch.float64) - height // 2).abs()
    across = (torch.arange(width, dtype=torch.float64) - width // 2).abs()
    radii = 1 / torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64) ** 2
    outer = radii.flip(0).cumsum(0).flip(0)  # a cell lies in its own ring and in all wider squares
    bump = outer[torch.maximum(down[:, None], across).long()]
    return bump / bump.square().sum().sqrt()
