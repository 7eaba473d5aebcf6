"""Common corruptions: against what their authors' code makes of an image, and what has to hold of each.

golden/corruptions.json is what the authors' package, imagenet_c 0.0.3 with ImageMagick 6.9.11 and OpenCV 4.8.1, made
of `picture()` after `numpy.random.seed(7)`, with 48 in place of the 224 pixels that it is written for: the mean of each
result, and five of its pixels.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from attnlab.attacks.corruptions import CORRUPTIONS, Corruption, known_corruptions, parse_corruptions
from attnlab.attacks.corruptions.images import corrupted, published_side
from attnlab.attacks.corruptions.photographs import folder
from attnlab.errors import UserError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "corruptions.json").read_text())
SPOTS = [(3, 40), (17, 9), (24, 24), (33, 46), (46, 2)]
WITHOUT_FROST = [kind for kind in CORRUPTIONS if kind != "frost"]


def picture(side=48):
    """An image that needs no file: slopes in red and green, a pattern in blue, (side, side, 3), uint8."""
    rows, columns = np.mgrid[:side, :side]
    return np.stack([rows * 5, columns * 5, rows * columns * 7 % 256], 2).astype(np.uint8)


def scene(side=64):
    """Soft patches of full contrast, such as photographs have, (side, side, 3), uint8."""
    soft = gaussian_filter(np.random.RandomState(1).normal(size=(side, side, 3)), (2, 2, 0))
    return ((soft - soft.min()) / np.ptp(soft) * 255).astype(np.uint8)


def as_batch(*images):
    """Images, (H, W, C), as a classifier takes them."""
    return torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in images]).float() / 255


@pytest.fixture
def _photographs():
    try:
        folder()
    except UserError as missing:
        pytest.skip(str(missing))


def check_equals_the_authors(kind):
    for number, constants in enumerate(CORRUPTIONS[kind].constants[224], 1):
        mean, *pixels = GOLDEN[f"{kind}@{number}"]
        made = CORRUPTIONS[kind].run(picture(), constants, np.random.RandomState(7)).astype(np.uint8)
        assert abs(made.mean() - mean) < 0.5, number
        off = np.abs(np.array([made[spot] for spot in SPOTS], int) - pixels)
        assert off.max() <= 1, number  # rounding: the levels are cut off, so that 59.99999 and 60 differ


@pytest.mark.parametrize("kind", WITHOUT_FROST)
def test_a_corruption_equals_the_authors_code(kind):
    check_equals_the_authors(kind)


@pytest.mark.usefixtures("_photographs")
def test_frost_equals_the_authors_code():
    check_equals_the_authors("frost")


@pytest.mark.parametrize("kind", WITHOUT_FROST)
def test_severities_grow_and_an_image_depends_on_its_seed_alone(kind):
    batch, seeds = as_batch(scene(), scene()[::-1]), [5, 2**63 + 11]
    distances = []
    for severity in (1, 5):
        made = corrupted(batch, Corruption(kind, severity), seeds)
        distances.append((made - batch).square().mean((1, 2, 3)))
        assert made.shape == batch.shape
        torch.testing.assert_close(made * 255, (made * 255).round())
        turned = corrupted(batch.flip(0), Corruption(kind, severity), seeds[::-1])
        assert torch.equal(made, turned.flip(0))
        assert torch.equal(made[1:], corrupted(batch[1:], Corruption(kind, severity), seeds[1:]))
    if kind != "elastic-transform":  # 64 pixels: the noise grows, the three points move less
        assert (distances[0] < distances[1]).all()


def test_noise_depends_on_the_seed():
    batch, noise = as_batch(picture()), Corruption("gaussian-noise", 1)
    first, second = (corrupted(batch, noise, [seed]) for seed in (1, 2))
    assert not torch.equal(first, second)


def test_contrast_and_brightness_equal_the_formulas_by_hand():
    grey = np.full((32, 32, 3), 101, np.uint8)
    grey[:16] = 200
    batch = as_batch(grey)
    lower = corrupted(batch, Corruption("contrast", 2), [0])  # halves the distance from the mean, 150.5; cut off
    assert sorted({round(255 * value) for value in lower.flatten().tolist()}) == [125, 175]
    brighter = corrupted(batch, Corruption("brightness", 2), [0])  # .1 more: 25.5, cut off
    assert sorted({round(255 * value) for value in brighter.flatten().tolist()}) == [126, 225]


def test_a_grey_image_stays_one_channel_and_other_channels_are_refused():
    grey = as_batch(picture())[:, :1]
    made = corrupted(grey, Corruption("shot-noise", 3), [0])
    assert made.shape == grey.shape
    with pytest.raises(UserError, match=r"expected images of 1 or 3 channels for fog@1, got 2"):
        corrupted(torch.zeros(1, 2, 32, 32), Corruption("fog", 1), [0])


def test_constants_are_those_of_the_nearest_published_side():
    assert [published_side(side) for side in (28, 45, 46, 64, 119, 120, 224, 299)] == [
        32,
        32,
        64,
        64,
        64,
        224,
        224,
        224,
    ]


def test_frost_without_its_photographs_is_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr("attnlab.attacks.corruptions.photographs.PACKAGES", {})
    with pytest.raises(UserError, match=r"pip install --no-deps imagecorruptions-imaug .* other kinds need none: gaus"):
        corrupted(as_batch(picture()), Corruption("frost", 1), [0])


def test_frost_lays_its_share_of_a_photograph_over_the_image(monkeypatch):
    monkeypatch.setattr(
        "attnlab.attacks.corruptions.weather.photograph", lambda *_: np.full((80, 80, 3), 100, np.uint8)
    )
    black = torch.zeros(1, 3, 32, 32)
    assert corrupted(black, Corruption("frost", 5), [3]).unique().mul(255).round().tolist() == [45]  # .45 of 100
    with pytest.raises(UserError, match="expected images below 80 x 80 pixels for frost"):
        corrupted(torch.zeros(1, 3, 96, 96), Corruption("frost", 5), [3])


def test_names_stand_for_one_severity_for_all_or_for_every_kind():
    assert parse_corruptions("fog@3") == [Corruption("fog", 3)]
    assert [str(one) for one in parse_corruptions("fog")] == [f"fog@{severity}" for severity in range(1, 6)]
    assert [one.corruption for one in parse_corruptions("corruptions@2")] == list(CORRUPTIONS)
    assert [str(one) for one in parse_corruptions("corruptions")] == known_corruptions()
    assert len(known_corruptions()) == 75
    for wrong in ("fog@0", "fog@6", "fog@", "corruptions@x"):
        with pytest.raises(UserError, match="expected a severity from 1 to 5 behind"):
            parse_corruptions(wrong)
