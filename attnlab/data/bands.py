"""Images of any number of channels: .npy files, and TIFFs whose bands are neither grey nor colour.

Of 8 bits alone, as in `decode`. A TIFF of one band, of three that are red, green and blue, and of either with an
opacity is a picture, which Pillow reads; one of other bands is read by tifffile. Further pages are left out.
"""

from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from attnlab.errors import Unusable
from attnlab.stores import StoreLost, StorePath

Bands = npt.NDArray[np.uint8]
"""Of an image, (H, W, C)."""

RGB, MINISBLACK = 2, 1  # how a TIFF says that its bands are meant
OPACITY = (1, 2)  # what it says of a band that is one


def deep(kind: object) -> Unusable:
    """Why pixels of more than 8 bits are left out; `kind` is what they are."""
    return Unusable(f"more than 8 bits a channel ({kind}); convert it to 8 bits, so that you choose the range")


def read_bands(path: Path | StorePath) -> Bands | None:
    """The bands of a file that is no picture; None of one that is. Raises Unusable."""
    return _read(path, whole=True)[1]


def channels_in(path: Path | StorePath) -> int | None:
    """Number of channels that a file is read with, from its header; None where that cannot be read."""
    try:
        return _read(path, whole=False)[0]
    except Unusable:
        return None


def _read(path: Path | StorePath, *, whole: bool) -> tuple[int, Bands | None]:
    """Number of channels, and if the `whole` is asked for the bands of a file that is no picture."""
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".tif", ".tiff"):
        return 3, None
    try:
        with path.open("rb") as file:
            return (_npy if suffix == ".npy" else _tiff)(file, whole=whole)
    except (Unusable, StoreLost):
        raise
    except Exception as error:  # both libraries raise many kinds of damaged files
        if suffix != ".npy":
            return 3, None  # Pillow says what is wrong
        raise Unusable(f"cannot be decoded: {' '.join(str(error).split()) or type(error).__name__}") from None


def _npy(file: BinaryIO, *, whole: bool) -> tuple[int, Bands | None]:
    """An array (H, W, C), or (H, W) of one channel; nothing pickled is read, nor more than the file holds."""
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise Unusable(f"a .npy of version {'.'.join(map(str, version))}; np.save writes 1.0")
    shape, column_first, kind = header(file)
    if kind != np.uint8:
        raise deep(kind) if kind.itemsize > 1 else Unusable(f"expected values from 0 to 255 (uint8), got {kind}")
    if len(shape) not in (2, 3) or not all(shape):
        raise Unusable(f"expected an array (H, W, C) or (H, W), got {shape}")
    if len(shape) == 3 and shape[1] == shape[2] > shape[0]:
        raise Unusable(f"expected an array (H, W, C), got {shape}, which seems to be (C, H, W); transpose it")
    channels = shape[2] if len(shape) == 3 else 1
    if not whole:
        return channels, None
    content = file.read(prod(shape) + 1)
    if len(content) != prod(shape):
        raise Unusable(f"cannot be decoded: expected {prod(shape)} values for {shape}, got {len(content)}")
    values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if column_first else "C")
    return channels, values.reshape(*shape[:2], channels)


def _tiff(file: BinaryIO, *, whole: bool) -> tuple[int, Bands | None]:
    """The first page's bands, where they are no picture's."""
    import tifffile  # takes a tenth of a second

    with tifffile.TiffFile(file) as tiff:
        page: Any = tiff.pages[0]
        count, photometric = page.samplesperpixel, page.photometric
        opacities = sum(kind in OPACITY for kind in page.extrasamples)
        if photometric not in (RGB, MINISBLACK) or count - opacities == (3 if photometric == RGB else 1):
            return 3, None
        if not whole:
            return count, None
        if page.dtype != np.uint8:
            raise deep(page.dtype)
        if opacities:
            raise Unusable(f"a TIFF of {count} bands, one of them an opacity; write it without")
        try:
            values = page.asarray()
        except Exception as error:  # such as a compression for want of imagecodecs
            raise Unusable(f"cannot be decoded: {' '.join(str(error).split())}") from None
        return count, np.moveaxis(values, 0, -1) if page.axes == "SYX" else values
