"""Norms of perturbations, (N, C, H, W), one for each image."""

import torch
from torch import Tensor

from attnlab.arrays import PerImage


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


def column(rows: PerImage) -> Tensor:
    """A number for each image, (N,), in the shape of images, (N, 1, 1, 1)."""
    return rows[:, None, None, None]
