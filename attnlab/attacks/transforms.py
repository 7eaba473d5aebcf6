"""What makes attacks transfer: gradients at resized and moved copies of images, and gradients smoothed in space."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.arrays import Images
from attnlab.attacks.seeding import uniform

SMALLEST = 299 / 331  # least side of a copy, as a share of the image's: the published sizes, of 331 pixels
PADDING = 0.5  # pixels around a copy: 0 in the published range, -1 to 1
SPREAD = 3.0  # standard deviations from the middle of a kernel to its last pixel


def diversified(points: Images, seeds: Sequence[int], probability: float) -> Images:
    """The points, each with that probability as a smaller copy in a random place (Xie et al. 2019, sec. 3.3).

    Side and place of a copy follow from the image's seed alone. The nearest pixels make it, and grey is around it, so
    that it has the image's size: the published copies are made larger, which few networks take.
    """
    made, side, down, across = uniform(seeds, (len(points), 4)).to(points.device).unbind(1)
    rows, of_row = _places(points.shape[2], side, down)
    columns, of_column = _places(points.shape[3], side, across)
    copies = points.gather(2, rows[:, None, :, None].expand_as(points))
    copies = copies.gather(3, columns[:, None, None, :].expand_as(points))
    inside = (of_row[:, :, None] & of_column[:, None, :])[:, None]
    return torch.where((made < probability)[:, None, None, None], copies.where(inside, PADDING), points)


def _places(length: int, side: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Along one axis, the pixel that each pixel of the copies shows, (N, length), and whether it shows one.

    Side and place are numbers in [0, 1), (N,).
    """
    least = min(int(SMALLEST * length), length - 1)
    sides = least + (side * (length - least)).long()  # least to length - 1
    starts = (place * (length - sides + 1)).long()
    at = torch.arange(length, device=side.device) - starts[:, None]
    shown = (at * length).div(sides[:, None].clamp(min=1), rounding_mode="floor")
    return shown.clamp(0, length - 1), (at >= 0) & (at < sides[:, None])


def smoothed(gradient: Tensor, side: int) -> Tensor:
    """The gradient, (N, C, H, W), convolved with a Gaussian of that many pixels a side (Dong et al. 2019, eq. 7).

    Its last pixel is three standard deviations from its middle, as in the authors' code. Zeros are outside.
    """
    at = torch.linspace(-SPREAD, SPREAD, side, dtype=torch.float64) if side > 1 else torch.zeros(1)
    weights = (-(at**2) / 2).exp()
    line = (weights / weights.sum()).to(gradient).expand(gradient.shape[1], 1, 1, side)
    half, channels = side // 2, gradient.shape[1]
    across = F.conv2d(gradient, line, padding=(0, half), groups=channels)
    return F.conv2d(across, line.transpose(2, 3), padding=(half, 0), groups=channels)
