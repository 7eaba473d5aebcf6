"""One image file: what it becomes, and why it cannot be used."""

import contextlib

import numpy as np
import pytest
from common import gradient
from PIL import Image

from attnlab.data.decode import decode
from attnlab.errors import Unusable


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "jpg"), ("CMYK", "jpg"), ("P", "gif"), ("P", "png"), ("RGBA", "png"), ("1", "png")]
)
def test_images_of_other_modes_become_rgb(tmp_path, mode, suffix):
    path = tmp_path / f"image.{suffix}"
    gradient(mode).save(path)
    image = decode(path).image
    assert image.mode == "RGB"
    difference = np.asarray(image, int) - np.asarray(gradient(mode).convert("RGB"), int)
    assert np.abs(difference).mean() < 3


def test_sixteen_bits_a_channel_are_refused_rather_than_clipped(tmp_path):
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(tmp_path / "deep.png")
    with pytest.raises(Unusable, match=r"more than 8 bits a channel \(mode I;16\)"):
        decode(tmp_path / "deep.png")


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
