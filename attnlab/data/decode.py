"""One image file as 8-bit RGB, or its bands: one rule for each kind of file.

- Orientation (EXIF): applied where the data set says so, else the pixels as they are stored; Pillow turns each TIFF.
- Transparency, of any mode: shown over white, and reported.
- Several frames or pages: the first one, and reported.
- More than 8 bits a channel, grey or colour, whole numbers or floats: the image is skipped with its reason. Which value
  should become black and which white is not known; Pillow would clip some, or drop the low byte of each.
- Arrays (.npy) and TIFFs of other bands than grey or colour: as they are, see `bands`.
- Palette, 1-bit, grey and CMYK: Pillow's conversion to RGB. Colour profiles (ICC) are not applied.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

from attnlab.data.bands import Bands, deep, read_bands
from attnlab.errors import Unusable
from attnlab.stores import StoreLost, StorePath

ORIENTATION = 0x0112
#: how pixels are read of the data sets that turn pictures, as a run records it
UPRIGHT = "turned upright as EXIF says, transparent parts over white, more than 8 bits a channel left out"


class Decoded(NamedTuple):
    """One decoded file."""

    image: Image.Image | Bands  # mode RGB, or of any number of channels
    notes: tuple[str, ...]  # what was decided about it, each in words that follow "3 of 12 images"


def decode(path: Path | StorePath, *, upright: bool = False, over_white: bool = True) -> Decoded:
    """Decode an image file to RGB, or to its bands where it is no picture, or raise Unusable.

    `over_white=False` drops the opacity, as older versions did.
    """
    bands = read_bands(path)
    if bands is not None:
        return Decoded(bands, ())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as on damaged EXIF data
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open_image(path) as image:
                return _converted(image, upright, over_white)
    except StoreLost:  # of which the image is not to blame
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable("more pixels than Pillow's limit against decompression bombs") from None
    except UnidentifiedImageError:
        raise Unusable("no image that Pillow can read" if file_size(path) else "the file is empty") from None
    except Unusable:
        raise
    except Exception as error:  # of damaged files the decoders raise many kinds, RuntimeError and TypeError too
        raise Unusable(f"cannot be decoded: {reason_of(error)}") from None


@contextmanager
def open_image(path: Path | StorePath) -> Iterator[Image.Image]:
    """An image file opened by Pillow.

    Not by its name: Pillow would map an uncompressed TIFF into memory and, where its orientation swaps width and
    height, read rows of the wrong length (Pillow 11 to 13).
    """
    with path.open("rb") as file, Image.open(file) as image:
        yield image


def reason_of(error: Exception) -> str:
    """Why a file cannot be decoded, in a line."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def check_no_program(image: Image.Image, what: str = "") -> None:
    """Refuse a file that Pillow would run Ghostscript for, whatever its suffix; `what` stands before the reason."""
    if image.format == "EPS":
        raise Unusable(f"{what}a PostScript file, which is a program and is not run; convert it to PNG")


def _converted(image: Image.Image, upright: bool, over_white: bool) -> Decoded:
    """An opened file's first frame as RGB."""
    check_no_program(image)
    _check_eight_bits(image)
    image.load()
    _check_eight_bits(image)  # of an icon, whose image is known now
    notes = []
    picture = image
    if over_white and image.has_transparency_data:
        picture = image.convert("RGBA")
        if picture.getchannel("A").getextrema()[0] < 255:  # type: ignore[operator]  # of one channel: two numbers
            notes.append("with transparent parts, shown over white")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    if (image.format, image.mode) != ("JPEG", "RGB"):  # of one frame; a copy would take a tenth of its decoding
        picture = picture.convert("RGB")
    if upright:
        picture = _turned(picture, image)
    with suppress(EOFError, OSError, SyntaxError, ValueError):  # a later frame may be damaged
        # an MPO is a phone's JPEG with previews behind the photograph
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            notes.append("of several frames or pages, of which the first is used")
    return Decoded(picture, tuple(notes))


def _check_eight_bits(image: Image.Image) -> None:
    """Refuse deeper pixels, whose range RGB would clip (I, I;16, F) or whose low byte Pillow drops (RGB;16B, ...)."""
    kind = f"mode {image.mode}" if image.mode[0] in "IF" else ""
    for tile in getattr(image, "tile", ()):
        packed = tile[3]  # how the file's values are packed; of a PPM with it its highest value
        if ";16" in str(packed):
            kind = kind or "16-bit colour"
        elif image.format == "PPM" and isinstance(packed, tuple) and isinstance(packed[-1], int) and packed[-1] > 255:
            kind = kind or f"colour up to {packed[-1]}"
    if kind:
        raise deep(kind)


def _turned(picture: Image.Image, stored: Image.Image) -> Image.Image:
    """The picture as its file's EXIF orientation says; as it is stored where the EXIF data cannot be read."""
    try:
        orientation = stored.getexif().get(ORIENTATION, 1)
    except Exception:  # of damaged EXIF data Pillow raises many kinds
        return picture
    if orientation not in range(2, 9):
        return picture
    exif = picture.getexif()
    exif.clear()
    exif[ORIENTATION] = orientation
    return ImageOps.exif_transpose(picture)


def file_size(path: Path | StorePath) -> int | None:
    """Size of a file; None where even that cannot be had, as of a link to nowhere."""
    try:
        return path.stat().st_size
    except OSError:
        return None
