"""ResNet8: a small residual network for the built-in scenes (after He et al. 2016)."""

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (24, 48, 96)


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) to (N, C', h / stride, w / stride)."""
        hidden = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(hidden)) + self.shortcut(x))


class ResNet8(nn.Module):
    """Colour images of 64x64 pixels to ten logits; the last maps are 8x8, as InceptionV3's are."""

    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)
    input_size = (64, 64)
    attention_layer = "stage3"

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        self.stage1 = Block(WIDTHS[0], WIDTHS[0], 1)
        self.stage2 = Block(WIDTHS[0], WIDTHS[1], 2)
        self.stage3 = Block(WIDTHS[1], WIDTHS[2], 2)
        self.classifier = nn.Linear(WIDTHS[2], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (N, 3, 64, 64) to logits (N, K)."""
        x = F.relu(self.norm(self.stem(x)))
        x = self.stage3(self.stage2(self.stage1(x)))  # (N, 96, 8, 8)
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]
