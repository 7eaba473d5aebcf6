"""Measures of maps: by hand, against skimage, scipy, sklearn, quantus and plain loops, and what none of them has."""

import warnings

import numpy as np
import pytest
import torch
from random_maps import noise, some_masks
from scipy.ndimage import distance_transform_edt
from scipy.stats import entropy as scipy_entropy
from scipy.stats import rankdata, spearmanr, wasserstein_distance_nd
from skimage.measure import label
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score

from attnlab.attention.map_metrics import top_k_mask
from attnlab.measures import MEASURES, chance
from attnlab.measures.between_maps import cosine, emd, shift, spearman, ssim, top_iou
from attnlab.measures.localisation import pixel_counts
from attnlab.measures.one_map import components, components_half, entropy
from attnlab.measures.totals import pxap
from attnlab.measures.with_object import auc, mass, midranks, pointing


def given(family, count=3, size=32, grid=7):
    """Everything a measure of a family may ask for, of maps that have all values."""
    maps, masks = noise(count, size, size, smooth=4), some_masks(count, size, size)
    boxes = [[[3.0, 4.0, 20.0, 25.0]]] * count
    grids = {"grids": noise(count, grid, grid), "first": noise(count, grid, grid), "second": noise(count, grid, grid)}
    return {"maps": maps, "masks": masks, "boxes": boxes, **grids}


WITHOUT_MODEL = [name for name, measure in MEASURES.items() if measure.family != "faithfulness"]


@pytest.mark.parametrize("name", WITHOUT_MODEL)
def test_a_measure_gives_its_numbers_for_each_image_alone_as_in_a_batch(name):
    measure, known = MEASURES[name], given(MEASURES[name].family)
    values = measure(**known)
    assert (values.shape, values.dtype) == ((3, measure.values), torch.float64)
    alone = [measure(**{key: value[n : n + 1] for key, value in known.items()}) for n in range(3)]
    torch.testing.assert_close(values, torch.cat(alone), rtol=1e-12, atol=1e-12)
    if measure.total is None:
        assert measure.low is None or (values >= measure.low).all()
        assert measure.high is None or (values <= measure.high).all()


@pytest.mark.parametrize("name", WITHOUT_MODEL)
def test_a_constant_map_has_no_measure(name):
    known = {key: torch.ones_like(value) for key, value in given("map").items() if key not in ("boxes", "masks")}
    values = MEASURES[name](**{**given("map"), **known})
    assert values.isnan().all()


def test_a_map_without_positive_values_has_no_measure_of_its_positive_part():
    below = -noise(2, 7, 7).abs() - 0.1
    below[1, 0, 0] = 0
    known = dict.fromkeys(("maps", "grids", "first", "second"), below)
    masks = torch.ones(2, 7, 7, dtype=torch.bool)
    for name in ("mass", "ssim", "cosine", "emd", "shift", "entropy", "components", "components-half"):
        assert MEASURES[name](**known, masks=masks).isnan().all(), name
    assert not MEASURES["spearman"](**known).isnan().any()


def test_without_ground_truth_there_is_no_measure_of_the_object():
    known = given("object") | {"masks": torch.zeros(3, 32, 32, dtype=torch.bool), "boxes": [[], [], []]}
    for name in (name for name in WITHOUT_MODEL if MEASURES[name].family == "object"):
        assert MEASURES[name](**known).isnan().all(), name


def test_iou_is_a_function_of_relevance_rank_accuracy():
    maps, masks = noise(6, 24, 20), some_masks(6, 24, 20)
    areas = top_k_mask(maps, masks.flatten(1).sum(1))
    accuracy = (areas & masks).flatten(1).sum(1).double() / masks.flatten(1).sum(1)
    torch.testing.assert_close(MEASURES["iou"](maps=maps, masks=masks)[:, 0], accuracy / (2 - accuracy))


def test_pointing_by_hand():
    """Of images of 224 x 300 pixels 15 are allowed, of 448 x 600 30, of 32 x 32 some 2.14."""
    for height, width, allowed in ((224, 300, 15), (448, 600, 30), (32, 32, 2)):
        maps, masks = torch.zeros(2, height, width), torch.zeros(2, height, width, dtype=torch.bool)
        maps[:, 10, 5] = 1
        masks[0, 10, 5 + allowed :] = True
        masks[1, 10, 5 + allowed + 1 :] = True
        assert pointing(maps, masks).tolist() == [1, 0]


def test_pointing_takes_the_first_of_equal_pixels_and_measures_slanting_ways():
    maps, masks = torch.zeros(1, 224, 224), torch.zeros(1, 224, 224, dtype=torch.bool)
    maps[0, 100, 100] = maps[0, 200, 200] = 1
    masks[0, 200, 200] = True
    assert pointing(maps, masks).tolist() == [0]
    masks[0, 109, 112] = True  # 9 down, 12 across: 15
    assert pointing(maps, masks).tolist() == [1]
    masks[0, 109, 112], masks[0, 110, 112] = False, True
    assert pointing(maps, masks).tolist() == [0]


def test_pointing_equals_a_distance_transform():
    maps, masks = noise(40, 64, 48, smooth=3), some_masks(40, 64, 48)
    expected = [
        distance_transform_edt(~mask)[np.unravel_index(map_.argmax(), map_.shape)] <= 15 * 48 / 224
        for map_, mask in zip(maps.numpy(), masks.numpy(), strict=True)
    ]
    assert pointing(maps, masks).tolist() == expected
    assert 0 < sum(expected) < 40


def test_mass_by_hand():
    maps = torch.tensor([[[3.0, 1.0], [-5.0, 0.0]]])
    assert mass(maps, torch.tensor([[[True, False], [True, False]]])).tolist() == [0.75]


def test_auc_by_hand():
    """The mask's 3 and 1 against 2 and 1: higher in two of four pairs, a tie in one."""
    maps = torch.tensor([[[3.0, 1.0], [2.0, 1.0]]])
    assert auc(maps, torch.tensor([[[True, True], [False, False]]])).tolist() == [(2 + 0.5) / 4]
    assert auc(maps, torch.ones(1, 2, 2, dtype=torch.bool)).isnan().all()


@pytest.mark.parametrize("ties", [False, True])
def test_auc_equals_sklearns(ties):
    maps, masks = noise(5, 24, 20, ties=ties), some_masks(5, 24, 20)
    expected = [roc_auc_score(mask.ravel(), map_.ravel()) for map_, mask in zip(maps, masks, strict=True)]
    np.testing.assert_allclose(auc(maps, masks), expected, rtol=1e-12)


def test_midranks_equal_scipys():
    maps = noise(3, 7, 7, ties=True)
    np.testing.assert_array_equal(midranks(maps), [rankdata(map_) for map_ in maps])


def test_measures_with_the_object_equal_quantus():
    quantus = pytest.importorskip("quantus", reason="quantus is not installed", exc_type=ImportError)
    maps, masks = noise(6, 32, 32, smooth=2), some_masks(6, 32, 32)
    arguments = {
        "model": None,
        "x_batch": maps[:, None].numpy(),
        "y_batch": np.zeros(6),
        "a_batch": maps[:, None].numpy(),
    }
    arguments |= {"s_batch": masks[:, None].numpy()}
    plain = {"abs": False, "normalise": False, "disable_warnings": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rank = np.array(quantus.RelevanceRankAccuracy(**plain)(**arguments))
        positive = arguments | {"a_batch": arguments["a_batch"].clip(min=0)}
        shares = quantus.RelevanceMassAccuracy(**plain)(**positive)
        areas = quantus.AUC(**plain)(**arguments)
    np.testing.assert_allclose(MEASURES["iou"](maps=maps, masks=masks)[:, 0], rank / (2 - rank), rtol=1e-6)
    np.testing.assert_allclose(mass(maps, masks), shares, rtol=1e-5)
    np.testing.assert_allclose(auc(maps, masks), areas, rtol=1e-6)


def test_top_iou_by_hand():
    first = torch.arange(49.0).view(1, 7, 7)
    second = first.clone()
    second[0, 6, :5] = -1  # five of the ten highest cells fall out
    assert top_iou(first, second).tolist() == [5 / 15]


def test_spearman_by_hand():
    """Ranks 1 2 3 4 and 1 3 2 4: 1 - 6 (1 + 1) / (4 (16 - 1))."""
    first, second = torch.tensor([[[1.0, 2], [3, 4]]]), torch.tensor([[[1.0, 30], [20, 400]]])
    assert spearman(first, second).tolist() == [pytest.approx(0.8)]


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_equals_scipys(ties):
    first, second = noise(5, 7, 8, ties=ties), noise(5, 7, 8, seed=3, ties=ties)
    expected = [spearmanr(one.ravel(), other.ravel()).statistic for one, other in zip(first, second, strict=True)]
    np.testing.assert_allclose(spearman(first, second), expected, rtol=1e-10)


def test_ssim_by_hand():
    """One window: means 1/9, variances 8/81, covariance -1/81."""
    first, second = torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)
    first[0, 0, 0], second[0, 2, 2] = 5, 0.1
    mean, variance, covariance = 1 / 9, 8 / 81, -1 / 81
    expected = (2 * mean**2 + 1e-4) * (2 * covariance + 9e-4) / ((2 * mean**2 + 1e-4) * (2 * variance + 9e-4))
    assert ssim(first, second).tolist() == [pytest.approx(expected)]
    assert ssim(first[:, :2], second[:, 1:]).isnan().all()


def test_ssim_equals_skimages():
    first, second = noise(4, 8, 7), noise(4, 8, 7, seed=5)
    expected = [
        structural_similarity(
            *(map_.clip(0) / map_.max() for map_ in (one.numpy().astype(float), other.numpy().astype(float))),
            win_size=3,
            data_range=1,
            use_sample_covariance=False,
        )
        for one, other in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(ssim(first, second), expected, rtol=1e-10)


def test_cosine_by_hand():
    first, second = torch.tensor([[[3.0, 4], [-9, 0]]]), torch.tensor([[[4.0, 3], [-1, -5]]])
    assert cosine(first, second).tolist() == [pytest.approx(24 / 25)]


def test_emd_and_shift_by_hand():
    """All mass goes three cells down and four across; of half the mass only, half the way."""
    first, second = torch.zeros(2, 4, 5), torch.zeros(2, 4, 5)
    first[:, 0, 0] = 2
    second[:, 3, 4] = 7
    second[1, 0, 0] = 7
    way = 5 / np.hypot(4, 5)
    assert emd(first, second).tolist() == pytest.approx([way, way / 2])
    assert shift(first, second).tolist() == pytest.approx([way, way / 2])
    # mass that spreads to both sides moves, its centre does not
    spread = torch.tensor([[[0.0, 1, 0], [0, 0, 0]], [[1.0, 0, 1], [0, 0, 0]]])
    assert emd(spread[:1], spread[1:]).tolist() == pytest.approx([1 / np.hypot(2, 3)])
    assert shift(spread[:1], spread[1:]).tolist() == pytest.approx([0])


def test_emd_equals_scipys_linear_programme():
    first, second = noise(3, 4, 5), noise(3, 4, 5, seed=7)
    cells = np.argwhere(np.ones((4, 5)))
    expected = [
        wasserstein_distance_nd(cells, cells, one.relu().flatten(), other.relu().flatten()) / np.hypot(4, 5)
        for one, other in zip(first.double(), second.double(), strict=True)
    ]
    np.testing.assert_allclose(emd(first, second), expected, rtol=1e-7)
    assert (shift(first, second) <= emd(first, second) + 1e-12).all()


def test_entropy_by_hand_and_by_scipy():
    assert entropy(torch.tensor([[[2.0, 2.0], [-1.0, 0.0]]])).tolist() == [0.5]
    maps = noise(4, 7, 7)
    expected = [scipy_entropy(map_.double().relu().ravel(), base=49) for map_ in maps]
    np.testing.assert_allclose(entropy(maps), expected, rtol=1e-10)


def test_components_by_hand():
    """Corners that touch are one part; of a mean of 14/9 three cells are above, at half the maximum two."""
    maps = torch.tensor([[[6.0, 0, 2], [0, 6, 0], [0, -9, 0]], [[6.0, 0, 2], [0, 0, 0], [0, -9, 6]]])
    assert components(maps).tolist() == [1, 3]
    assert components_half(maps).tolist() == [1, 2]
    assert components_half(torch.tensor([[[6.0, 0, 3]]])).tolist() == [2]


def test_components_equal_skimages():
    maps = noise(6, 9, 8)
    areas = [map_.clip(0) >= map_.clip(0).mean() for map_ in maps.numpy().astype(float)]
    assert components(maps).tolist() == [label(area, connectivity=2).max() for area in areas]


def test_chance_levels_equal_what_random_maps_score():
    mask = some_masks(1, 32, 32)[0]
    maps = noise(4000, 32, 32)
    masks = mask.expand(len(maps), -1, -1)
    for name in ("iou", "pointing", "mass"):
        level = MEASURES[name].chance(mask.numpy())
        assert MEASURES[name](maps=maps, masks=masks).mean().item() == pytest.approx(level, abs=0.02), name
    assert auc(maps, masks).mean().item() == pytest.approx(0.5, abs=0.01)
    first, second = noise(4000, 7, 7, seed=2), noise(4000, 7, 7, seed=4)
    assert top_iou(first, second).mean().item() == pytest.approx(chance.top_iou(49), abs=0.01)
    assert spearman(first, second).mean().item() == pytest.approx(0, abs=0.01)
    values = pixel_counts(maps[:200], masks[:200]).numpy()
    assert pxap(values, np.ones((1, 200))).item() == pytest.approx(chance.share(mask.numpy()), abs=0.01)
