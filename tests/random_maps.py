"""Maps and masks of chance."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter


def noise(*shape, seed=0, smooth=0.0, ties=False):
    values = np.random.default_rng(seed).standard_normal(shape)
    values = gaussian_filter(values, (0, smooth, smooth)) if smooth else values
    return torch.from_numpy(np.round(values * 2) / 2 if ties else values).float()


def some_masks(count, height, width, seed=1):
    generator = np.random.default_rng(seed)
    masks = np.zeros((count, height, width), bool)
    for mask in masks:
        top, left = generator.integers(0, (height // 2, width // 2))
        mask[top : top + generator.integers(3, height // 2), left : left + generator.integers(3, width // 2)] = True
    return torch.from_numpy(masks)
