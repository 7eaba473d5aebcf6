"""Images of every kind that Pillow writes, whole and damaged, through the reader of image files."""

import io
import subprocess
from functools import cache
from pathlib import Path
from random import Random
from unittest import mock

import numpy as np
import tifffile
from endurance.cases import ACCEPTED, REFUSED, Skipped, check_message, damage
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from attnlab.data.decode import ORIENTATION, Decoded, decode
from attnlab.data.placing import place
from attnlab.errors import Unusable

MODES = (
    "1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX", "RGBa", "La", "I;16",
    "I;16B",
)  # fmt: skip
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".JPG", ".npy")
#: formats that keep every value, and modes in which they do
LOSSLESS = {"PNG", "BMP", "TIFF", "PPM", "TGA", "QOI", "PCX", "SGI", "DIB"}
PLAIN = {"1", "L", "P", "RGB"}
DEEP = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
SIDES = (1, 1, 2, 3, 7, 8, 9, 16, 17, 40, 65)
#: what numpy does with stored pixels for each orientation of EXIF
TURNS = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels),
}


@cache
def kinds() -> list[tuple[str, str]]:
    """Pairs of format and mode that Pillow writes here."""
    Image.init()
    found = []
    for form in sorted({*Image.SAVE} - {"PDF", "WMF", "BUFR", "GRIB", "HDF5"}):  # written only, or by other programs
        for mode in MODES:
            try:
                Image.new(mode, (16, 16)).save(io.BytesIO(), form)
            except Exception:
                continue
            found.append((form, mode))
    return found


def image_case(draw: Random, folder: Path) -> str:
    """Write an image, perhaps damage it, and hold what is read to Pillow's own reading and to the original."""
    form, mode = draw.choice(kinds())
    original = _picture(draw, form, mode)
    orientation = draw.choice((None, None, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535))
    frames = (
        draw.choice((1, 1, 1, 2, 3)) if form in ("GIF", "PNG", "TIFF", "WEBP", "MPO") else 1
    )  # AVIF: its writer crashes
    path = folder / f"image{draw.choice(SUFFIXES) if draw.random() < 0.4 else f'.{form.lower()}'}"
    content = _written(draw, original, form, orientation, frames)
    damaged = draw.random() < 0.6
    path.write_bytes(damage(draw, content) if damaged else content)
    upright = draw.random() < 0.5
    with mock.patch.object(subprocess, "Popen", side_effect=OSError) as started:
        read = _decoded(path, upright=upright)
    assert not started.called, "an image file started a program"
    if isinstance(read, Unusable):
        check_message(read)
        assert damaged or _may_be_refused(form, path), f"{form} of mode {mode} refused: {read}"
        return REFUSED
    if isinstance(read.image, np.ndarray):
        values = tifffile.imread(path, key=0)
        assert values.sum() == read.image.sum(), "bands are not the file's"
        return ACCEPTED
    assert read.image.mode == "RGB"
    pixels = np.asarray(read.image)
    again, mode_read, frames = _pillow(path, upright=upright)
    assert mode_read not in DEEP, f"{form} of mode {mode} was read as {mode_read}"
    _compare(pixels, again, f"{form} {mode} {original.size} is not what Pillow reads")
    if (
        not damaged
        and form in LOSSLESS
        and (mode in PLAIN or (mode in ("RGBA", "LA") and form in ("PNG", "TIFF", "TGA")))
    ):
        stored = _over_white(original)
        if orientation in TURNS and ((upright and form in ("PNG", "TIFF")) or form == "TIFF"):
            stored = TURNS[orientation](stored)
        _compare(pixels, stored, f"{form} {mode} {original.size} is not what was written, orientation {orientation}")
    if frames > 1 and form != "MPO":
        assert any("several frames" in note for note in read.notes), f"{form}: further frames are not told of"
    _placed(draw, read.image)
    return ACCEPTED


def _decoded(path: Path, *, upright: bool) -> Decoded | Unusable:
    try:
        return decode(path, upright=upright)
    except Unusable as reason:
        return reason


def _picture(draw: Random, form: str, mode: str) -> Image.Image:
    """A picture of chance, with a palette or opacity where the mode has them."""
    large = form in ("PNG", "JPEG", "TIFF", "WEBP", "BMP") and draw.random() < 0.05
    size = (draw.randint(500, 1500), draw.randint(1, 900)) if large else (draw.choice(SIDES), draw.choice(SIDES))
    chance = np.random.default_rng(draw.getrandbits(32))
    channels = len(Image.new(mode, (1, 1)).getbands())
    if mode in ("I", "F", "I;16", "I;16B"):
        kind = {"I": np.int32, "F": np.float32}.get(mode, np.uint16)
        image = Image.fromarray(chance.integers(0, 60000, size[::-1]).astype(kind))
        return image if image.mode == mode else Image.new(mode, size, 300)
    values = chance.integers(0, 256, (*size[::-1], channels), np.uint8)
    if mode == "1":
        return Image.fromarray(values[..., 0]).convert("1")
    if mode == "P":
        image = Image.fromarray(values[..., 0]).convert("P")
        image.putpalette(chance.integers(0, 256, 768, np.uint8).tobytes())
        return image
    image = Image.new(mode, size)
    return Image.frombytes(mode, size, values.tobytes()) if mode != "PA" else image


def _written(draw: Random, image: Image.Image, form: str, orientation: int | None, frames: int) -> bytes:
    more: dict[str, object] = {}
    if orientation is not None and form in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF", "MPO"):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        more["exif"] = exif
    if form == "TIFF" and draw.random() < 0.5:
        more["compression"] = draw.choice(("tiff_lzw", "tiff_adobe_deflate", "packbits"))
    if form == "WEBP" and draw.random() < 0.5:
        more["lossless"] = True
    if form == "JPEG":
        more["progressive"] = draw.random() < 0.3
        more["quality"] = draw.choice((1, 50, 95))
    if image.mode == "P" and form in ("PNG", "GIF") and draw.random() < 0.5:
        more["transparency"] = draw.randrange(256)
        image.info["transparency"] = more["transparency"]
    if frames > 1:
        more |= {"save_all": True, "append_images": [ImageOps.mirror(image)] * (frames - 1)}
    held = io.BytesIO()
    try:
        image.save(held, form, **more)
    except Exception as error:
        raise Skipped(f"Pillow does not write it as {form}: {type(error).__name__}") from None
    return held.getvalue()


def _may_be_refused(form: str, path: Path) -> bool:
    """Whether a whole file may be left out: PostScript, an array's suffix, an icon, deep pixels, LAB, packed bands."""
    if form in ("EPS", "ICNS") or path.suffix == ".npy":  # of an icon Pillow loses the palette
        return True
    try:
        with Image.open(path) as image:
            mode = image.mode
            if form == "TIFF" and image.tag_v2.get(TiffImagePlugin.EXTRASAMPLES) == (0,):
                return image.info["compression"] != "raw"  # a fourth band, which imagecodecs alone unpacks
    except UnidentifiedImageError:
        raise Skipped(f"Pillow does not read {form}") from None
    return mode in (*DEEP, "LAB")


def _pillow(path: Path, *, upright: bool) -> tuple[np.ndarray, str, int]:
    """Pillow's own reading of the first frame, turned, then over white by numpy; its mode; the number of frames."""
    with path.open("rb") as file, Image.open(file) as image:  # by its name Pillow misreads turned TIFFs
        image.load()
        turned = image
        if upright:
            try:
                turned = ImageOps.exif_transpose(image)
            except Exception:
                turned = image
        found = _over_white(turned), image.mode
        try:
            return *found, getattr(image, "n_frames", 1)
        except Exception:
            return *found, 1


def _over_white(image: Image.Image) -> np.ndarray:
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    values = np.asarray(image.convert("RGBA")).astype(float)
    alpha = values[..., 3:] / 255
    return values[..., :3] * alpha + 255 * (1 - alpha)


def _compare(pixels: np.ndarray, reference: np.ndarray, what: str) -> None:
    assert pixels.shape == reference.shape, f"{what}: {pixels.shape}, not {reference.shape}"
    assert np.abs(pixels - reference.astype(float)).max(initial=0) <= 1, what


def _placed(draw: Random, image: Image.Image) -> None:
    """Bring the image to a model's size; one box that is the whole image stays the whole image."""
    size = draw.choice(((8, 8), (5, 9), (32, 32)))
    box = [0, 0, image.width, image.height]
    try:
        pixels, boxes, share = place(image, [box], size, draw.choice(("squash", "crop")))
    except Unusable:
        assert max(image.size) > 100 * min(image.size)
        return
    assert pixels.shape == (3, *size)
    assert boxes.tolist() == [[0, 0, size[1], size[0]]]
    assert 0 <= share <= 1


TiffImagePlugin.logger.disabled = True  # which repeats what is damaged
