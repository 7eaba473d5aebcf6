"""The authors' photographs of frost, which packages on the index bring; attnlab holds none."""

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from attnlab.attacks.corruptions import CORRUPTIONS
from attnlab.attacks.corruptions.noise import Pixels
from attnlab.errors import UserError

#: package -> its folder of the photographs; none is imported
PACKAGES = {"imagecorruptions": "frost", "corrupt_tta": "assets/frost"}
#: name of a photograph -> how its SHA-256 begins
PHOTOGRAPHS = {
    "frost1.png": "ff9f907860bd7a83",
    "frost2.png": "fe211a89b336999c",
    "frost3.png": "2d0d50b4a9bb213f",
    "frost4.jpg": "3f8b91ca1a9fa716",
    "frost5.jpg": "5fc6a19df4a429ba",
}


def folder() -> Path:
    """Where the photographs lie.

    Raises:
        UserError: If no package that has them is installed.
    """
    for package, inner in PACKAGES.items():
        spec = find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            if (Path(place) / inner).is_dir():
                return Path(place) / inner
    others = ",".join(kind for kind in CORRUPTIONS if kind != "frost")
    raise UserError(
        "expected the authors' photographs for frost, which attnlab does not hold; pip install --no-deps "
        f"imagecorruptions-imaug (2 MB) brings them; the other kinds need none: {others}"
    )


@lru_cache(maxsize=8)
def photograph(number: int, scale: float = 1) -> Pixels:
    """A photograph, from 0 on, in colour, at a scale by bilinear interpolation, (H, W, 3), uint8; it is checked.

    Raises:
        UserError: If it is not there, or another one.
    """
    name, digest = list(PHOTOGRAPHS.items())[number]
    path = folder() / name
    if not path.is_file() or not hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest):
        raise UserError(
            f"expected {path} to be the authors' photograph; pip install --force-reinstall --no-deps its package"
        )
    with Image.open(path) as image:
        pixels = np.asarray(image)[..., :3]  # a channel of transparency is left out, not laid over anything
    return pixels if scale == 1 else scaled(pixels, scale)


def scaled(pixels: Pixels, scale: float) -> Pixels:
    """An image at a scale: bilinear between the centres of pixels, without smoothing first, to the nearest level."""
    image = pixels.astype(float)
    for axis in (0, 1):
        size = image.shape[axis]
        at = np.clip((np.arange(round(size * scale)) + 0.5) / scale - 0.5, 0, size - 1)
        low = np.minimum(at.astype(int), size - 2)
        share = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = (1 - share) * image.take(low, axis) + share * image.take(low + 1, axis)
    levels: Pixels = np.rint(image).astype(np.uint8)
    return levels
