"""Arrays that functions take and give: an alias says what the numbers are, in which shape and unit."""

from torch import Tensor

Images = Tensor
"""Pixels in [0, 1], (N, C, H, W)."""
Labels = Tensor
"""Index of a class for each image, (N,), int64."""
Logits = Tensor
"""One number per class before the softmax, (N, K)."""
Maps = Tensor
"""Signed attention at the layer's own resolution, (N, h, w)."""
Areas = Tensor
"""Whether a cell or pixel belongs to the attention, (N, h, w), bool."""
PerImage = Tensor
"""One number for each image, (N,)."""
