"""The photographs of frost: where they are looked for, that each is the authors', and how they are made smaller."""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from attnlab.attacks.corruptions import photographs
from attnlab.errors import UserError


@pytest.fixture
def frost(tmp_path, monkeypatch):
    """A package with a photograph of 8 x 6 pixels and some transparency, which counts as the authors' first."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 4), np.uint8)
    place = tmp_path / "frosty" / "pictures"
    place.mkdir(parents=True)
    (tmp_path / "frosty" / "__init__.py").write_text("raise AssertionError('is not to be imported')\n")
    Image.fromarray(pixels).save(place / "frost1.png")
    digest = hashlib.sha256((place / "frost1.png").read_bytes()).hexdigest()[:16]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(photographs, "PACKAGES", {"not_installed": "pictures", "frosty": "pictures"})
    monkeypatch.setattr(photographs, "PHOTOGRAPHS", {"frost1.png": digest, "frost2.png": digest})
    photographs.photograph.cache_clear()
    yield place, pixels
    photographs.photograph.cache_clear()


def test_a_photograph_is_read_from_the_package_without_its_transparency(frost):
    place, pixels = frost
    assert photographs.folder() == place
    assert np.array_equal(photographs.photograph(0), pixels[..., :3])


@pytest.mark.parametrize("scale", [0.5, 2])
def test_a_photograph_at_a_scale_equals_torchs_bilinear_interpolation(frost, scale):
    whole = torch.from_numpy(frost[1][..., :3].copy()).permute(2, 0, 1)[None].double()
    expected = F.interpolate(whole, scale_factor=scale, mode="bilinear", align_corners=False)
    assert np.array_equal(photographs.photograph(0, scale), expected[0].permute(1, 2, 0).round().byte().numpy())


def test_another_picture_or_none_is_refused_with_a_way_out(frost):
    place, pixels = frost
    with pytest.raises(UserError, match=r"expected .*frost2.png to be the authors' photograph; pip install"):
        photographs.photograph(1)
    Image.fromarray(pixels[::-1]).save(place / "frost2.png")
    with pytest.raises(UserError, match=r"expected .*frost2.png to be the authors' photograph; pip install"):
        photographs.photograph(1)
