"""One image file: what it becomes, and why it cannot be used."""

import contextlib
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from common import gradient
from PIL import Image

from attnlab.data.decode import decode
from attnlab.errors import Unusable

PIXELS = np.asarray(gradient())


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "jpg"), ("CMYK", "jpg"), ("P", "gif"), ("P", "png"), ("RGBA", "png"), ("1", "png")]
)
def test_images_of_other_modes_become_rgb(tmp_path, mode, suffix):
    path = tmp_path / f"image.{suffix}"
    gradient(mode).save(path)
    image = decode(path).image
    assert image.mode == "RGB"
    difference = np.asarray(image, int) - np.asarray(gradient(mode).convert("RGB"), int)
    assert not decode(path).notes
    assert np.abs(difference).mean() < 3


def test_sixteen_bits_a_channel_are_refused_rather_than_clipped(tmp_path):
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(tmp_path / "deep.png")
    with pytest.raises(Unusable, match=r"more than 8 bits a channel \(mode I;16\)"):
        decode(tmp_path / "deep.png")


def png(path: Path, colour: int, samples: int) -> None:
    """A PNG of 2x1 pixels with 16 bits a channel, which Pillow itself cannot write in colour."""
    raw = b"\0" + bytes([1, 200]) * samples * 2

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = chunk(b"IHDR", bytes([0, 0, 0, 2, 0, 0, 0, 1, 16, colour, 0, 0, 0]))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_refused_in_grey_and_colour_alike(tmp_path, colour, samples):
    png(tmp_path / "deep.png", colour, samples)
    with pytest.raises(Unusable, match=r"more than 8 bits a channel \(.*\); convert it to 8 bits"):
        decode(tmp_path / "deep.png")


def tiff(path: Path, bits: int, data: bytes, channels: int = 3) -> None:
    """A TIFF of 2x1 pixels in one strip, which Pillow itself cannot write in 16-bit colour."""
    depths = struct.pack(f"<{channels}H", *[bits] * channels)
    start = 8 + 2 + 9 * 12 + 4
    entries = [(256, 4, 1, 2), (257, 4, 1, 1), (258, 3, channels, start), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, start + len(depths)), (277, 3, 1, channels), (278, 4, 1, 1), (279, 4, 1, len(data))]
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + table + struct.pack("<I", 0) + depths + data)


#: values of 2x1 pixels in three colours, and in one
COLOURS, GREYS = np.array([[[257, 40_000, 65_535], [1, 2, 3]]]), np.array([[257, 65_535]])


@pytest.mark.parametrize(
    ("name", "write", "deep"),
    [
        ("grey.png", lambda path: png(path, 0, 1), "mode I;16"),
        ("colour.png", lambda path: png(path, 2, 3), "16-bit colour"),
        ("grey.tiff", lambda path: Image.fromarray(GREYS.astype(np.uint16)).save(path), "mode I;16"),
        ("colour.tiff", lambda path: tiff(path, 16, COLOURS.astype("<u2").tobytes()), "16-bit colour"),
        ("float.tiff", lambda path: Image.fromarray((GREYS / 65_535).astype(np.float32)).save(path), "mode F"),
        ("whole.tiff", lambda path: Image.fromarray(GREYS.astype(np.int32)).save(path), "mode I"),
        ("grey.pgm", lambda path: path.write_bytes(b"P5 2 1 65535\n" + GREYS.astype(">u2").tobytes()), "mode I"),
        ("colour.ppm", lambda path: path.write_bytes(b"P6 2 1 65535\n" + COLOURS.astype(">u2").tobytes()), "colour up"),
        ("ten.ppm", lambda path: path.write_bytes(b"P6 2 1 1023\n" + bytes(12)), "colour up to 1023"),
        ("text.ppm", lambda path: path.write_bytes(b"P3 2 1 65535\n1 2 3 4 5 6\n"), "colour up to 65535"),
    ],
)
def test_more_than_8_bits_a_channel_are_refused_in_every_format_by_one_rule(tmp_path, name, write, deep):
    write(tmp_path / name)
    with pytest.raises(Unusable) as reason:
        decode(tmp_path / name)
    assert str(reason.value).startswith(f"more than 8 bits a channel ({deep}")
    assert str(reason.value).endswith("; convert it to 8 bits, so that you choose the range")


def test_8_bits_a_channel_and_fewer_are_read_from_the_same_formats(tmp_path):
    values = np.array([[[1, 40, 255], [0, 2, 3]]], np.uint8)
    tiff(tmp_path / "a.tiff", 8, values.tobytes())
    (tmp_path / "b.ppm").write_bytes(b"P6 2 1 255\n" + values.tobytes())
    (tmp_path / "c.ppm").write_bytes(b"P3 2 1 255\n1 40 255 0 2 3\n")
    for name in ("a.tiff", "b.ppm", "c.ppm"):
        np.testing.assert_array_equal(np.asarray(decode(tmp_path / name).image), values)
    (tmp_path / "d.ppm").write_bytes(b"P6 2 1 15\n" + bytes([0, 15, 5, 1, 2, 3]))
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "d.ppm").image)[0], [[0, 255, 85], [17, 34, 51]])


@pytest.mark.parametrize("orientation", range(1, 10))
def test_exif_orientation_turns_the_picture_only_where_it_is_asked_for(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    gradient().save(tmp_path / "turned.png", exif=exif)
    # what each value means, in numpy: rows and columns of the stored picture -> of the upright one
    upright = {
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.swapaxes(0, 1),
        6: PIXELS[::-1].swapaxes(0, 1),
        7: PIXELS[::-1, ::-1].swapaxes(0, 1),
        8: PIXELS[:, ::-1].swapaxes(0, 1),
    }.get(orientation, PIXELS)
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "turned.png", upright=True).image), upright)
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "turned.png").image), PIXELS)


def test_damaged_exif_data_leaves_the_picture_as_it_is_stored(tmp_path):
    gradient().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decode(tmp_path / "a.jpg", upright=True).image.size == (40, 30)


def transparent(mode: str) -> tuple[Image.Image, dict[str, object]]:
    """A picture whose right half, or one colour of it, is transparent, and how to save it."""
    if mode in ("RGBA", "LA"):
        picture = gradient(mode[:-1]).convert(mode)
        alpha = np.full((30, 40), 255, np.uint8)
        alpha[:, 20:] = 0
        picture.putalpha(Image.fromarray(alpha))
        return picture, {}
    flat = np.full((30, 40, 3), 9, np.uint8)
    flat[:, 20:] = 200
    picture = Image.fromarray(flat).convert(mode, palette=Image.Palette.ADAPTIVE)
    return picture, {"transparency": (200, 200, 200) if mode == "RGB" else picture.getpixel((30, 0))}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGB", "L", "P"])
def test_transparency_of_any_mode_is_shown_over_white_and_noted(tmp_path, mode):
    picture, how = transparent(mode)
    picture.save(tmp_path / "clear.png", **how)
    image, notes = decode(tmp_path / "clear.png")
    assert np.asarray(image)[:, 20:].min() == 255
    np.testing.assert_array_equal(np.asarray(image)[:, :20], np.asarray(picture.convert("RGB"))[:, :20])
    assert notes == ("with transparent parts, shown over white",)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_the_first_of_several_frames_is_used_and_noted(tmp_path, suffix):
    first, second = Image.new("RGB", (8, 6), (255, 0, 0)), Image.new("RGB", (8, 6), (0, 0, 255))
    first.save(tmp_path / f"many.{suffix}", save_all=True, append_images=[second])
    image, notes = decode(tmp_path / f"many.{suffix}")
    red, _, blue = image.getpixel((4, 3))
    assert (red > 250, blue < 5) == (True, True)
    assert notes == ("of several frames or pages, of which the first is used",)
    first.save(tmp_path / f"one.{suffix}")
    assert decode(tmp_path / f"one.{suffix}").notes == ()


def test_a_truncated_image_is_unusable(tmp_path):
    gradient().save(tmp_path / "whole.jpg", quality=95)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-200])
    with pytest.raises(Unusable, match="cannot be decoded: image file is truncated"):
        decode(tmp_path / "cut.jpg")


def test_a_text_file_called_jpg_is_unusable_and_the_reason_names_no_path(tmp_path):
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    with pytest.raises(Unusable) as reason:
        decode(tmp_path / "text.jpg")
    assert str(reason.value) == "no image that Pillow can read"


def test_an_empty_file_is_unusable(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(Unusable, match="the file is empty"):
        decode(tmp_path / "empty.png")


@pytest.mark.parametrize("pixels", [1199, 599])  # Pillow warns above its limit, and refuses above twice that
def test_a_decompression_bomb_is_unusable(tmp_path, monkeypatch, pixels):
    gradient().save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(Unusable, match="limit against decompression bombs"):
        decode(tmp_path / "bomb.png")


def test_an_image_at_pillows_limit_is_read(tmp_path, monkeypatch):
    gradient().save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    assert decode(tmp_path / "large.png").image.size == (40, 30)


def test_damage_anywhere_in_a_file_never_raises_anything_but_unusable(tmp_path):
    random = np.random.default_rng(0)
    for suffix in ("jpg", "png", "gif", "bmp", "webp"):
        path = tmp_path / f"image.{suffix}"
        gradient().save(path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for cut in random.integers(0, len(whole), 20):
            damaged = whole.copy()
            damaged[random.integers(0, len(whole), 3)] = random.integers(0, 256, 3)
            path.write_bytes(damaged[: len(whole) if cut % 2 else cut].tobytes())
            with contextlib.suppress(Unusable):
                assert decode(path).image.mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_uncompressed_tiff_is_turned_as_exif_says_and_no_row_is_misread(tmp_path, orientation):
    """Pillow, given its name, maps the file into memory and reads rows of the turned picture's length."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    grey = gradient("L")
    grey.save(tmp_path / "turned.tif", exif=exif)
    grey.save(tmp_path / "turned.png", exif=exif)
    read = decode(tmp_path / "turned.tif", upright=True).image
    np.testing.assert_array_equal(np.asarray(read), np.asarray(decode(tmp_path / "turned.png", upright=True).image))


def test_a_postscript_file_is_unusable_and_starts_no_program(tmp_path, monkeypatch):
    gradient().save(tmp_path / "program.jpg", "EPS")
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(Unusable, match="a PostScript file, which is a program and is not run"):
        decode(tmp_path / "program.jpg")


def test_whatever_a_decoder_raises_of_a_damaged_file_the_image_is_unusable(tmp_path):
    gradient().save(tmp_path / "damaged.dds")
    content = bytearray((tmp_path / "damaged.dds").read_bytes())
    content[80:84] = bytes(4)  # flags of the pixels' format, for none of which Pillow has a NotImplementedError
    (tmp_path / "damaged.dds").write_bytes(content)
    with pytest.raises(Unusable, match="cannot be decoded: Unknown pixel format flags 0"):
        decode(tmp_path / "damaged.dds")


def test_an_icon_of_more_than_8_bits_is_refused_once_its_image_is_known(tmp_path):
    Image.new("I;16", (16, 16), 40_000).save(tmp_path / "deep.icns")
    with pytest.raises(Unusable, match=r"more than 8 bits a channel \(mode I;16\)"):
        decode(tmp_path / "deep.icns")
