"""`captum:NAME`: which classes of captum.attr it takes, and that their maps are captum's."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from captum import attr
from explained import SEEDS, images_for, maps_of, state_of

from attnlab.attention import METHODS
from attnlab.attention.captum_methods import superpixels_of
from attnlab.attention.captum_names import NAMED, callable_names
from attnlab.errors import UserError


def test_classes_that_attribute_pixels_to_a_class_are_taken():
    assert set(callable_names()) == {"DeepLiftShap", "Lime", "ShapleyValueSampling"}


@pytest.mark.parametrize("name", NAMED)
def test_a_class_with_a_method_of_its_own_name_is_that_method(name):
    assert METHODS[f"captum:{name}"] is METHODS[NAMED[name]]
    assert hasattr(attr, name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["DeepLiftShap", "Lime", "ShapleyValueSampling"])
def test_maps_equal_captum_called_bare(name, pooled):
    pooled.network.relu = torch.nn.Identity()  # one network for which captum's own DeepLift needs no other modules
    pooled.network.forward = lambda x: pooled.network.last(pooled.network.second(pooled.network.first(x)).mean((2, 3)))
    images, classes = images_for(pooled, 2), torch.tensor([2, 3])
    before = state_of(pooled)
    maps = maps_of(METHODS[f"captum:{name}"].maps, pooled, images, classes, seeds=SEEDS[:2])
    assert state_of(pooled) == before
    for image, class_, seed, map_ in zip(images.split(1), classes.tolist(), SEEDS, maps, strict=False):
        colours = torch.cat([torch.full_like(image, value) for value in (0, 0.5, 1)])
        mask = superpixels_of(image, seed)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        if name == "DeepLiftShap":
            expected = attr.DeepLiftShap(pooled).attribute(image, colours, target=class_)
        else:
            expected = getattr(attr, name)(pooled).attribute(image, baselines=0.0, target=class_, feature_mask=mask)
        torch.testing.assert_close(map_, expected.sum(1)[0].detach().double(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("captum:IntegratedGradient", r"got 'IntegratedGradient'; did you mean 'IntegratedGradients'\?"),
        ("captum:LayerConductance", "to be one of Saliency, InputXGradient, .* got 'LayerConductance'"),
        ("captum:FeaturePermutation", "got FeaturePermutation: it shuffles superpixels among the images"),
        ("captum:ShapleyValues", "ShapleyValueSampling draws some"),
        ("captum:NoiseTunnel", "smoothgrad is the one around saliency"),
        ("captum:NAME", "with a name behind captum:"),
        ("saliancy", "did you mean 'saliency'"),
    ],
)
def test_other_names_are_refused_with_the_reason_or_the_nearest(name, said):
    with pytest.raises(UserError, match=said):
        METHODS.expect(name)


def test_captum_is_imported_by_its_own_methods_alone():
    code = """
import sys
from attnlab.attention import METHODS
assert "torch" not in sys.modules
METHODS["grad-cam"].maps.load()
METHODS["attention-rollout"].maps.load()
METHODS["deep-lift"].maps.load()
assert "captum" not in sys.modules
METHODS["captum:Lime"]
assert "captum" in sys.modules and "torchvision" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
