"""A small network of a user's own, and the ways in which others return, wrap and normalise."""

import torch
from torch import Tensor, nn


class Small(nn.Module):
    """Two convolutions and a pooled linear head: 8x8 cells, five classes, colour images of 16x16 pixels."""

    input_size: object = (16, 16)

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


class Returning(Small):
    """What `made` turns its logits into."""

    def __init__(self, made, classes: int = 5) -> None:
        super().__init__(classes)
        self.made = made

    def forward(self, x: Tensor) -> object:
        return self.made(super().forward(x))
