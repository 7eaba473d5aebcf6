"""A convolution of grey images whose gradient by the image is quick on a CPU, where attacks take it at every step."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

BLOCK = 4


class GreyConv2d(nn.Conv2d):
    """`nn.Conv2d` of one input channel, stride 1, no padding.

    Its gradient by the image is a convolution with one output channel, of which oneDNN's kernels use one lane in 16;
    as the same sum is taken here, 4x4 pixels of the image at a time, all lanes are used.
    """

    def __init__(self, outputs: int, kernel_size: int) -> None:
        super().__init__(1, outputs, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 1, H, W) to maps (N, C, H - k + 1, W - k + 1)."""
        whole = x.ndim == 4 and not (x.shape[2] % BLOCK or x.shape[3] % BLOCK)
        if whole and x.device.type == "cpu" and x.requires_grad and torch.is_grad_enabled():
            return _Convolution.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call, no-any-return]
        return super().forward(x)


class _Convolution(torch.autograd.Function):
    """The convolution, with `gradient_by_image` in its backward pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        wanted = ctx.needs_input_grad
        by_image = by_weight = by_bias = None
        with torch.autocast("cpu", enabled=False):  # in the forward pass's precision, as torch's own
            if wanted[0]:
                by_image = gradient_by_image(gradient, weight.to(gradient), x.dtype)
            if wanted[1]:
                by_weight = conv2d_weight(x.to(gradient), weight.shape, gradient).to(weight)  # type: ignore[no-untyped-call]
            if wanted[2]:
                by_bias = gradient.sum((0, 2, 3)).to(weight)
        return by_image, by_weight, by_bias


def gradient_by_image(gradient: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Gradient of a sum by the images, (N, 1, H, W), from its gradient by the maps, (N, C, H - k + 1, W - k + 1).

    H and W are multiples of 4. Pixel (4 i + a, 4 j + b) is channel 4 a + b at (i, j) of a convolution of stride 4,
    whose kernels are the flipped one of `weight`, (C, 1, k, k), at 4x4 offsets; differentiable in both.
    """
    reach, around = weight.shape[-1] - 1, BLOCK - 1
    padded = F.pad(weight[:, 0], (around,) * 4)
    windows = padded.unfold(1, reach + BLOCK, 1).unfold(2, reach + BLOCK, 1)  # (C, 4, 4, k + 3, k + 3)
    kernels = windows.flip(3, 4).permute(1, 2, 0, 3, 4).flatten(0, 1)
    blocks = F.conv2d(gradient, kernels.contiguous(memory_format=torch.channels_last), stride=BLOCK, padding=reach)
    return F.pixel_shuffle(blocks.to(dtype), BLOCK)  # shuffled in bfloat16 it takes as long as the convolution
