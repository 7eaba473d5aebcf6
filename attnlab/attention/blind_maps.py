"""Maps that look at nothing, at the images' resolution: controls that stand in every table beside attention methods."""

import torch

from attnlab.arrays import Maps
from attnlab.attention.model_pass import ModelPass


def centre_maps(seen: ModelPass) -> Maps:
    """The same map for all images: 1 in the middle, falling to 0 at the frame, (N, H, W).

    A value is one less the largest of the shares of half the height and half the width by which a pixel lies off the
    centre, so that the highest pixels make a frame of the image's shape, as that of the controls of Table 1.
    """
    count, _, height, width = seen.images.shape
    down, across = ((2 * torch.arange(size, dtype=torch.float64) + 1 - size).abs() / size for size in (height, width))
    one = 1 - torch.maximum(down[:, None], across)
    return one.float().to(seen.images.device).expand(count, -1, -1)


def random_maps(seen: ModelPass) -> Maps:
    """Uniform noise in [0, 1) from each image's seed, (N, H, W): the same on an attacked image as on the clean one."""
    size = tuple(seen.images.shape[2:])
    maps = [torch.rand(size, generator=torch.Generator().manual_seed(seed)) for seed in seen.seeds]
    return torch.stack(maps).to(seen.images.device)
