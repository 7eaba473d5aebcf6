"""The built-in data set: real handwritten digits on real textures, with their boxes.

Each image is made when it is asked for, from the split, its index and nothing else, in whole-number arithmetic, so that
it is the same on every machine. The digits are scikit-learn's (UCI, 1,797 written by 43 people), the textures
photographs that ship inside scikit-image. Digit sides run from a quarter to most of the frame, so attention can miss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from attnlab.data.base import Example, digest

SIDE = 64
DIGIT_SIDES = (16, 56)
CONTRAST = 60  # least difference of grey between the ink and the texture under it, of 255
#: an ink pixel belongs to the box from this opacity on, of 255
INK = 64
TEXTURES = ("brick", "chelsea", "coffee", "coins", "grass", "gravel", "ihc", "motorcycle_left")
LENGTHS = {"train": 20_000, "val": 500, "test": 1_000}  # split -> number of images
#: every fifth digit is for testing, the one after it for validation, the others for training
REMAINDERS = {"train": (2, 3, 4), "val": (1,), "test": (0,)}


@dataclass(frozen=True)
class Scenes:
    """Colour images of 64x64 pixels, ten classes, one box each."""

    split: str
    name: str = "scenes"
    classes: Sequence[str] = tuple("0123456789")
    size: tuple[int, int] | None = (SIDE, SIDE)
    channels: int = 3
    has_boxes: bool = True

    @cached_property
    def image_ids(self) -> Sequence[str]:  # asked for with each image that is read
        """`val-00000` and so on."""
        return tuple(f"{self.split}-{index:05d}" for index in range(LENGTHS[self.split]))

    def label_of(self, index: int) -> int | None:
        """Label of an image without making it."""
        return _label(self.split, index)

    def fingerprint(self) -> str:
        """SHA-256 of the split's names; the images follow from them."""
        return digest(["scenes 1", *self.image_ids])

    def read(self, index: int) -> Example:
        """Make the image of that index."""
        glyphs, labels = _digits(self.split)
        draw = _draws(self.split, index).random

        def pick(count: int) -> int:
            return int(draw() * count)

        which = pick(len(glyphs))
        background = _texture_crop(pick)
        side = DIGIT_SIDES[0] + pick(DIGIT_SIDES[1] - DIGIT_SIDES[0] + 1)
        alpha = np.asarray(Image.fromarray(glyphs[which]).resize((side, side), Image.Resampling.BICUBIC), np.int32)
        x, y = pick(SIDE - side + 1), pick(SIDE - side + 1)
        under = background[y : y + side, x : x + side]
        ink = _contrasting_colour(pick, int(under.mean()))
        under[:] = (under * (255 - alpha[..., None]) + ink * alpha[..., None] + 127) // 255
        rows, columns = np.nonzero(alpha >= INK)
        box = [x + columns.min(), y + rows.min(), x + columns.max() + 1, y + rows.max() + 1]
        image = Image.fromarray(background.astype(np.uint8))
        return Example(image, int(labels[which]), torch.tensor([box], dtype=torch.float64))


def scenes(root: object, split: str) -> Scenes:
    """Open a split of the built-in set; `root` is not used."""
    return Scenes(split)


def _draws(split: str, index: int) -> np.random.Generator:
    return np.random.default_rng([list(LENGTHS).index(split), index])


@cache  # every training of a process asks for those of all images
def _label(split: str, index: int) -> int:
    """The digit is the first draw."""
    _, labels = _digits(split)
    return int(labels[int(_draws(split, index).random() * len(labels))])


def _texture_crop(pick: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
    """A square of a photograph, 64 to 256 pixels wide, resized to the frame: (64, 64, 3)."""
    texture = _texture(TEXTURES[pick(len(TEXTURES))])
    side = SIDE + pick(4 * SIDE - SIDE + 1)
    x, y = pick(texture.width - side + 1), pick(texture.height - side + 1)
    piece = texture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side))
    return np.array(piece, np.int32)


def _contrasting_colour(pick: Any, grey: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """A colour whose mean differs from `grey` by at least CONTRAST, (3,)."""
    while True:
        colour = np.array([pick(256), pick(256), pick(256)], np.int32)
        if abs(int(colour.mean()) - grey) >= CONTRAST:
            return colour


@cache
def _digits(split: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Opacities 0 to 255, (D, 8, 8), uint8, and labels, (D,), of the split's own digits."""
    rows = np.loadtxt(_folder("sklearn") / "datasets/data/digits.csv.gz", delimiter=",")  # 64 pixels 0-16, and a label
    own = rows[np.isin(np.arange(len(rows)) % 5, REMAINDERS[split])]
    return (own[:, :-1].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8), own[:, -1].astype(int)


def _folder(package: str) -> Path:
    """Where a package lies, without importing it: scikit-learn takes longer than all scenes of a run."""
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


@cache
def _texture(name: str) -> Image.Image:
    with files("skimage.data").joinpath(f"{name}.png").open("rb") as file:
        return Image.open(file).convert("RGB")
