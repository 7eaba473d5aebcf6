"""How a layer's output lies in memory, and how it becomes a spatial map: convolutional, channels-last or tokens."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from attnlab.errors import UserError
from attnlab.hooks import find_layer

FIRST, LAST, TOKENS = "channels-first", "channels-last", "tokens"

#: modules that work on (N, C, h, w) alone
_CONVOLUTIONAL = (
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.BatchNorm2d,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)
#: modules that work along the last axis; not their subclasses, which may permute first
_ROWWISE = (nn.Linear, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Layout:
    """The axes of a layer's output."""

    axes: str  # channels-first (N, C, h, w), channels-last (N, h, w, C) or tokens (N, T, C)
    grid: tuple[int, int]  # height and width of the map in cells, as seen with images of the network's own size
    first: int = 0  # place of the first patch among the tokens: class, distillation and register tokens lie before it
    tokens: int = 0  # their number T; 0 where there are none

    def spatial(self, values: Tensor) -> Tensor:
        """The same values, or a gradient by them, as (N, C, h, w), without a copy."""
        if self.axes == FIRST:
            return values
        if self.axes == LAST:
            return values.permute(0, 3, 1, 2)
        if values.shape[1] != self.tokens:
            raise UserError(f"expected {self.tokens} tokens from the attention layer, got {values.shape[1]}")
        cells = self.grid[0] * self.grid[1]
        patches = values[:, self.first : self.first + cells]
        return patches.reshape(len(values), *self.grid, -1).permute(0, 3, 1, 2)

    def __str__(self) -> str:
        """In words, for a manifest and for messages."""
        height, width = self.grid
        if self.axes != TOKENS:
            return f"{self.axes}, {height}x{width} cells"
        after = self.tokens - self.first - height * width
        behind = f" and {after} behind" if after else ""
        return f"tokens, {self.first} before{behind}, {height}x{width} cells"


class Seen(NamedTuple):
    """One module's output in a forward pass."""

    name: str  # of the module
    module: nn.Module
    shape: tuple[int, ...]
    maker: nn.Module  # the module that made the output: itself, or the one inside whose output it passes on
    width: int  # number of channels of the last module with weights that had run by then
    rowwise: bool  # whether a module had worked along the last axis of tokens or of four dimensions by then
    aside: bool  # whether it is a pool's, a dropout's or a convolutional head's, and so no map by default


def width_of(module: nn.Module) -> int:
    """Number of channels that a module with weights gives; 0 for others."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim == 0:
        return 0
    return int(getattr(module, "out_channels", weight.shape[0]))


def both(shape: tuple[int, ...]) -> list[Layout]:
    """The two readings of a four-dimensional output."""
    return [Layout(FIRST, (shape[2], shape[3])), Layout(LAST, (shape[1], shape[2]))]


def readings(seen: Seen, size: tuple[int, int]) -> list[Layout]:
    """The readings of a four-dimensional output that the evidence leaves; none where it is no map.

    In this order: the kind of the module that made it; that no layer of the network worked along a last axis so far;
    which axis is as long as the last weights are wide, and which two have the aspect of the image, whose height and
    width `size` is.
    """
    first, last = both(seen.shape)
    if isinstance(seen.maker, _CONVOLUTIONAL):
        return [first]
    if is_rowwise(seen.maker):
        return [last]
    if not seen.rowwise:
        return [first]
    by_aspect = [layout for layout in (first, last) if has_aspect(layout.grid, size)]
    by_width = [layout for layout, axis in ((first, 1), (last, 3)) if seen.shape[axis] == seen.width]
    if len(by_width) == 1 and by_aspect and by_width[0] not in by_aspect:
        return [first, last]  # they contradict each other
    return [layout for layout in by_aspect if len(by_width) != 1 or layout in by_width]


def is_rowwise(module: nn.Module, *, strictly: bool = True) -> bool:
    """Whether a module works along the last axis; not `strictly` with subclasses, which may permute first."""
    if not (type(module) in _ROWWISE if strictly else isinstance(module, _ROWWISE)):
        return False
    return isinstance(module, nn.Linear) or len(module.normalized_shape) == 1  # type: ignore[arg-type]


def has_aspect(grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a grid of cells has the aspect of images of that size, to one cell where they are not square."""
    (rows, columns), (height, width) = grid, size
    if rows > height or columns > width:
        return False
    if height == width:
        return rows == columns
    return abs(rows * width / height - columns) <= 1 or abs(columns * height / width - rows) <= 1


def grid_of(cells: int, size: tuple[int, int], seen: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Height and width of a grid of that many cells: the last one seen, or the only one with the image's aspect."""
    known = [grid for grid in seen if grid[0] * grid[1] == cells]
    if known:
        return known[-1]
    pairs = [(rows, cells // rows) for rows in range(2, cells) if cells % rows == 0]
    exact = [grid for grid in pairs if grid[0] * size[1] == grid[1] * size[0]]
    return exact[0] if exact else None


def split_layer(network: nn.Module, layer: str) -> tuple[str, str]:
    """Name of a layer, and how its output is to be read: "channels-first", "channels-last", "HxW", or empty."""
    name, _, reading = layer.rpartition(":")
    if not name or not (reading in (FIRST, LAST) or re.fullmatch(r"\d+x\d+", reading)):
        name, reading = layer, ""
    find_layer(network, name)
    return name, reading


def read_as(name: str, shape: tuple[int, ...], reading: str) -> Layout:
    """The layout of an output that the user says how to read; an error where it cannot be read so."""
    if reading in (FIRST, LAST) and len(shape) == 4:
        return both(shape)[reading == LAST]
    if len(shape) == 3 and "x" in reading:
        rows, columns = map(int, reading.split("x"))
        first = shape[1] - rows * columns
        if first >= 0 and rows * columns > 0:
            return Layout(TOKENS, (rows, columns), first, shape[1])
    raise UserError(f"expected the output of layer {name!r} to be readable as {reading}, got shape {shape}")
