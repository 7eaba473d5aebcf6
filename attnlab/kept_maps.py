"""Maps as records keep them: on a grid of cells, and those at the images' resolution packed."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from attnlab.superpixels import Labels
from attnlab.views import Map

#: height and width, in cells, of the grid of a network without an attention layer: that of the paper's InceptionV3
GRID = (8, 8)


def grid_of(map_shape: Sequence[int]) -> tuple[int, int]:
    """Height and width in cells of the grid on which records keep maps: the layer's, or GRID without a layer."""
    height, width = map_shape or GRID
    return height, width


def pack_map(values: npt.NDArray[Any]) -> bytes:
    """A map (H, W), scaled so that its largest absolute value is 1, as float16, compressed by zlib.

    The scale goes, since gradients may be too small for float16; ranks, signs and shares stay to three digits.

    >>> unpack_map(pack_map(np.array([[3e-9, -1.5e-9]])), (1, 2)).tolist()
    [[1.0, -0.5]]
    """
    values = np.asarray(values, np.float64)
    largest = np.abs(values).max(initial=0)
    return zlib.compress((values / (largest or 1)).astype(np.float16).tobytes())


def unpack_map(content: bytes, size: Sequence[int]) -> Map:
    """The map that `pack_map` made of one of that height and width, (H, W), float64."""
    return np.frombuffer(zlib.decompress(content), np.float16).reshape(size).astype(np.float64)


def segments_of(explanation: Mapping[str, Any], size: Sequence[int]) -> Labels:
    """Superpixel of each pixel that a LIME explanation in the records weighs, (H, W)."""
    return np.frombuffer(zlib.decompress(explanation["segments"]), np.uint16).reshape(size)
