"""Files of images of any number of channels: .npy and TIFF, and what is left out of them."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from attnlab.data.bands import channels_in, read_bands
from attnlab.data.decode import decode
from attnlab.data.placing import place
from attnlab.errors import Unusable

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 5), dtype=np.uint8)


def test_bands_of_every_layout_are_the_array_that_was_written(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    np.save(tmp_path / "b.npy", np.asfortranarray(PIXELS))
    np.save(tmp_path / "grey.npy", PIXELS[..., 0])
    bands = {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "c.tif", PIXELS, planarconfig="contig", **bands)
    tifffile.imwrite(tmp_path / "d.TIFF", np.moveaxis(PIXELS, -1, 0), planarconfig="separate", **bands)
    tifffile.imwrite(tmp_path / "e.tif", PIXELS, planarconfig="contig", compression="zlib", **bands)
    tifffile.imwrite(tmp_path / "two.tif", PIXELS[..., :2], planarconfig="contig", **bands)
    tifffile.imwrite(tmp_path / "near.tif", PIXELS[..., :4], photometric="rgb", extrasamples=["unspecified"])
    counts = {"grey": 1, "two": 2, "near": 4}
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(decode(path).image, PIXELS[..., : counts.get(path.stem, 5)], err_msg=path.name)


def test_pictures_in_a_tiff_are_pillows(tmp_path):
    for mode, count in {"RGB": 3, "RGBA": 4, "CMYK": 4, "LA": 2}.items():
        Image.frombytes(mode, (30, 20), PIXELS[..., :count].tobytes()).save(tmp_path / f"{mode}.tif")
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "L.tif")
    for path in tmp_path.iterdir():
        assert read_bands(path) is None, path.name
        assert decode(path).image.mode == "RGB"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: np.save(path, PIXELS.astype(np.uint16)), "more than 8 bits a channel (uint16); convert it to 8"),
        (lambda path: np.save(path, PIXELS / 255), "more than 8 bits a channel (float64)"),
        (lambda path: np.save(path, PIXELS > 9), "expected values from 0 to 255 (uint8), got bool"),
        (lambda path: np.save(path, PIXELS[None]), "expected an array (H, W, C) or (H, W), got (1, 20, 30, 5)"),
        (lambda path: np.save(path, np.zeros((5, 9, 9), np.uint8)), "got (5, 9, 9), which seems to be (C, H, W)"),
        (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "more than 8 bits a channel (object)"),
        (lambda path: path.write_bytes(b""), "cannot be decoded: EOF"),
        (lambda path: path.write_bytes(b"no array at all"), "cannot be decoded: the magic string is not correct"),
    ],
)
def test_other_arrays_are_left_out_with_a_reason(tmp_path, make, reason):
    path = tmp_path / "a.npy"
    make(path)
    with pytest.raises(Unusable) as error:
        decode(path)
    assert reason in str(error.value)


def test_an_array_that_is_cut_or_claims_more_than_its_file_holds_is_left_out(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-1])
    (tmp_path / "huge.npy").write_bytes(whole.replace(b"(20, 30, 5)", b"(900000000, 9, 5)"[:11].ljust(11)))
    for name in ("cut", "huge"):
        with pytest.raises(Unusable, match="cannot be decoded"):
            decode(tmp_path / f"{name}.npy")


def test_deep_bands_of_a_tiff_are_left_out(tmp_path):
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, PIXELS.astype(np.uint16), photometric="minisblack", planarconfig="contig")
    with pytest.raises(Unusable, match=r"more than 8 bits a channel \(uint16\)"):
        decode(path)


def test_bands_with_an_opacity_are_left_out(tmp_path):
    kinds = ["unspecified"] * 3 + ["unassalpha"]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="minisblack", planarconfig="contig", extrasamples=kinds)
    with pytest.raises(Unusable, match=r"a TIFF of 5 bands, one of them an opacity; write it without$"):
        decode(tmp_path / "a.tif")


def test_an_array_of_a_later_format_is_left_out_and_its_channels_are_not_known(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, PIXELS, version=(3, 0))
    with pytest.raises(Unusable, match=r"a \.npy of version 3\.0; np\.save writes 1\.0$"):
        decode(tmp_path / "a.npy")
    assert channels_in(tmp_path / "a.npy") is None


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_channels_are_resized_as_pillow_resizes_those_of_a_picture(resize):
    boxes = [[3.0, 4, 20, 15]]
    (picture, *others), (bands, *same) = (
        place(image, boxes, (16, 24), resize) for image in (Image.fromarray(PIXELS[..., :3]), PIXELS)
    )
    assert (bands.shape, bands.dtype) == ((5, 16, 24), torch.uint8)
    assert torch.equal(bands[:3], picture)
    assert np.array_equal(others[0], same[0])
