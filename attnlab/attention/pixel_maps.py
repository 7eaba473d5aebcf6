"""From maps at the images' resolution to cells: the grid on which Table 3 compares methods, and which records keep."""

import torch
from torch import Tensor

from attnlab.arrays import Maps


def pool_to_grid(maps: Maps, grid: tuple[int, int]) -> Maps:
    """Sums of the positive parts of maps over the cells of a grid that covers the image, (N, H, W) to (N, h, w).

    A pixel that lies in several cells is shared among them by area. So the total of a map is kept, but for rounding,
    and on a finer grid than the map's each cell has its share of one pixel.

    >>> pool_to_grid(torch.tensor([[[1.0, -5.0, 2.0, 3.0]]]), (1, 2)).tolist()
    [[[1.0, 5.0]]]
    """
    rows = shares(maps.shape[1], grid[0]).to(maps)
    columns = shares(maps.shape[2], grid[1]).to(maps)
    return rows @ maps.relu() @ columns.T


def shares(size: int, cells: int) -> Tensor:
    """Share of each of `size` pixels that lies in each of `cells` equal intervals: (cells, size), float64.

    >>> shares(3, 2).tolist()
    [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]
    """
    # in units of which a pixel has `cells` and a cell `size`, so that borders are whole numbers
    pixels, borders = torch.arange(size) * cells, torch.arange(cells)[:, None] * size
    covered = torch.minimum(pixels + cells, borders + size) - torch.maximum(pixels, borders)
    return covered.clamp(min=0).double() / cells
