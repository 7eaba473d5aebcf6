"""Small networks whose last maps lie in other ways than (N, C, h, w), for `--model layout_networks.py:NAME`, too."""

import torch
from torch import Tensor, nn


class Convolutions(nn.Module):
    """A map of 4x6 cells and some channels behind two convolutions, pooled before a linear layer of ten classes."""

    input_size = (16, 24)

    def __init__(self, channels: int = 12) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.fc = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


class channels_last(Convolutions):  # noqa: N801 - names of models
    """As Swin, MambaOut and NesT: the last map is (N, h, w, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.features(x).permute(0, 2, 3, 1)).mean((1, 2)))


class hidden_head(channels_last):  # noqa: N801
    """The same without a closed form."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.features(x).permute(0, 2, 3, 1)).amax((1, 2)).tanh())


class one_channel_per_class(Convolutions):  # noqa: N801
    """A map that has as many channels as there are classes, and is no convolutional head."""

    def __init__(self) -> None:
        super().__init__(channels=10)


class convolutional_head(Convolutions):  # noqa: N801
    """As SqueezeNet: a map of each class, a ReLU, a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(12, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x)).relu().mean((2, 3))


class gated(Convolutions):  # noqa: N801
    """Closed form for the weights it starts with, and not after a training step."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.extra = nn.Linear(12 * 4 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        return self.fc(features.mean((2, 3))) + self.gamma * self.extra(features.flatten(1))


class bent(Convolutions):  # noqa: N801
    """The pooled features are bent where they are large, as no noise through small weights makes them."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)).clamp(max=6))


class cube(nn.Module):  # noqa: N801
    """A map as high and wide as it has channels, in an arrangement that nothing but its module could tell."""

    input_size = (16, 16)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.norm = nn.LayerNorm(8)
        self.mystery = nn.Sequential(Double())
        self.last = nn.Linear(8 * 8 * 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.mystery(self.norm(self.patch(x).permute(0, 2, 3, 1))).flatten(1).tanh())


class Double(nn.Module):
    """A layer that works cell by cell."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class tokens(nn.Module):  # noqa: N801
    """A vision transformer with some tokens before its 4x6 patches, the first of which is read."""

    input_size = (16, 24)

    def __init__(self, before: int = 1, *, norm_first: bool = True, pooled: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.pooled = pooled
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.prefix = nn.Parameter(torch.randn(1, before, 16))
        self.position = nn.Parameter(torch.randn(1, before + 24, 16))
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first
        )
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.fc = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT
        x = torch.cat([self.prefix.expand(len(x), -1, -1), x], 1) + self.position
        x = self.norm(self.blocks(x))
        return self.fc(x[:, -24:].mean(1) if self.pooled else x[:, 0])


def three_before() -> nn.Module:
    return tokens(3)


def norm_last() -> nn.Module:
    return tokens(2, norm_first=False)


def pooled_tokens() -> nn.Module:
    return tokens(0, pooled=True)


class shuffled(nn.Module):  # noqa: N801
    """Patches column by column, as no map shows them."""

    input_size = (16, 24)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.patch, self.first, self.fc = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.first(self.patch(x).mT.flatten(2).mT).tanh().amax(1))
