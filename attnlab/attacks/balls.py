"""Norms of perturbations, (N, C, H, W), balls of them, and starts in those."""

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.arrays import Images, PerImage


def largest(perturbations: Tensor) -> PerImage:
    """L-infinity: the largest change of a pixel, (N,)."""
    return perturbations.flatten(1).abs().amax(1)


def euclidean(perturbations: Tensor) -> PerImage:
    """L2, (N,)."""
    lengths: Tensor = torch.linalg.vector_norm(perturbations.flatten(1), dim=1)
    return lengths


def sign(gradients: Tensor) -> Tensor:
    """Direction of length 1 in L-infinity in which a value of these gradients, (N, C, H, W), rises most."""
    return gradients.sign()


def unit(gradients: Tensor) -> Tensor:
    """Likewise in L2; a gradient of zeros stays one."""
    lengths = column(euclidean(gradients))
    return gradients / lengths.where(lengths > 0, 1)


def cube(centres: Images, eps: float) -> Callable[[Tensor], Images]:
    """Put points, in place, at most eps from their centres in each pixel, and into [0, 1]."""
    lowest, highest = (centres - eps).clamp_(min=0), (centres + eps).clamp_(max=1)
    return lambda points: points.clamp_(lowest, highest)


def sphere(centres: Images, eps: float) -> Callable[[Tensor], Images]:
    """Put points, in place, at most eps from their centres in L2, each along its line, and then into [0, 1]."""

    def inside(points: Tensor) -> Images:
        away = points.sub_(centres)
        return away.mul_(column((eps / euclidean(away)).clamp_(max=1).nan_to_num_(1))).add_(centres).clamp_(0, 1)

    return inside


def in_cube(draws: Tensor, eps: float) -> Tensor:
    """Perturbations uniform in the ball of L-infinity, from numbers uniform in [0, 1)."""
    return eps * (2 * draws - 1)


def on_sphere(draws: Tensor, eps: float) -> Tensor:
    """Perturbations uniform on the sphere of L2, where nearly all of a ball of so many dimensions lies."""
    normal = torch.special.ndtri(draws.double() + 2.0**-25)  # float32's draws are multiples of 2^-24: never 0 or 1
    return eps * unit(normal).to(draws.dtype)


def column(rows: PerImage) -> Tensor:
    """A number for each image, (N,), in the shape of images, (N, 1, 1, 1)."""
    return rows[:, None, None, None]
