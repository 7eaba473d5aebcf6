"""ResNet9 for CIFAR-10 (residual blocks after He et al. 2016): nine layers with weights, the last map 8x8."""

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 256)


class Convolution(nn.Module):
    """A 3x3 convolution, batch norm, ReLU, and a 2x2 max pool if asked for."""

    def __init__(self, inputs: int, outputs: int, *, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) to (N, C', h, w), or half as high and wide."""
        x = F.relu(self.norm(self.conv(x)))
        return F.max_pool2d(x, 2) if self.pool else x


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Convolution(width, width)
        self.second = Convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) to the same shape."""
        return x + self.second(self.first(x))  # type: ignore[no-any-return]


class ResNet9(nn.Module):
    """Colour images of 32x32 pixels to ten logits.

    The paper names the network and no layer of it. This is the common ResNet9 (a stem, three stages of which the first
    and the last hold a residual block) but for its end: its third pool is left out, so that the last map has 8x8 cells,
    as in the paper's analysis, and not 4x4, where the areas of Table 3 would fill the map; and a global average pool
    and one linear layer follow, with which Grad-CAM at that map has its closed form: the attention losses need no
    second derivative. At 8x8 the last stage is 256 wide and not 512: four times the cells for a quarter of the weights.
    """

    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    input_size = (32, 32)
    attention_layer = "residual3"

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = Convolution(3, WIDTHS[0])
        self.stage1 = Convolution(WIDTHS[0], WIDTHS[1], pool=True)
        self.residual1 = Residual(WIDTHS[1])
        self.stage2 = Convolution(WIDTHS[1], WIDTHS[2], pool=True)
        self.stage3 = Convolution(WIDTHS[2], WIDTHS[3])
        self.residual3 = Residual(WIDTHS[3])
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(WIDTHS[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (N, 3, 32, 32) to logits (N, K)."""
        x = self.residual1(self.stage1(self.stem(x)))  # (N, 128, 16, 16)
        x = self.residual3(self.stage3(self.stage2(x)))  # (N, 256, 8, 8)
        return self.classifier(self.dropout(x.mean((2, 3))))  # type: ignore[no-any-return]
