"""Captum's methods through attnlab: value by value those of captum called bare, one image at a time."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from captum import attr
from explained import SEEDS, images_for, maps_of, state_of, tiny_vit

from attnlab.attention import captum_methods
from attnlab.attention.captum_methods import SETTINGS, superpixels_of
from attnlab.attention.captum_passes import Passes
from attnlab.models import Classifier

METHODS = {
    "saliency": captum_methods.saliency,
    "input-x-gradient": captum_methods.input_x_gradient,
    "integrated-gradients": captum_methods.integrated_gradients,
    "smoothgrad": captum_methods.smoothgrad,
    "gradient-shap": captum_methods.gradient_shap,
    "occlusion": captum_methods.occlusion,
    "feature-ablation": captum_methods.feature_ablation,
    "kernel-shap": captum_methods.kernel_shap,
}


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(captum_methods, "SETTINGS", replace(SETTINGS, samples=60))


@pytest.fixture
def vit() -> Classifier:
    return tiny_vit()


@pytest.fixture(params=["small", "vit"])
def network(request) -> Classifier:
    return request.getfixturevalue(request.param)


def bare(name, classifier, image, class_, seed):
    """Captum, called as its documentation does."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    black, calls = {"baselines": 0.0}, {"target": class_}
    if name == "saliency":
        return attr.Saliency(classifier).attribute(image, **calls)
    if name == "input-x-gradient":
        return attr.InputXGradient(classifier).attribute(image, **calls)
    if name == "integrated-gradients":
        return attr.IntegratedGradients(classifier).attribute(image, n_steps=50, **black, **calls)
    if name == "smoothgrad":
        return attr.NoiseTunnel(attr.Saliency(classifier)).attribute(image, nt_samples=50, stdevs=0.15, **calls)
    if name == "gradient-shap":
        colours = torch.stack([torch.full_like(image[0], value) for value in (0, 0.5, 1)])
        return attr.GradientShap(classifier).attribute(image, colours, n_samples=50, **calls)
    if name == "occlusion":
        window, stride = ((3, 3, 3), (3, 1, 1)) if image.shape[2] == 19 else ((3, 2, 2), (3, 1, 1))
        return attr.Occlusion(classifier).attribute(image, window, strides=stride, **black, **calls)
    mask = superpixels_of(image, seed)
    if name == "feature-ablation":
        return attr.FeatureAblation(classifier).attribute(image, feature_mask=mask, **black, **calls)
    return attr.KernelShap(classifier).attribute(image, feature_mask=mask, n_samples=60, **black, **calls)


@pytest.mark.filterwarnings("ignore:Input Tensor")
@pytest.mark.parametrize("name", METHODS)
def test_maps_equal_captum_called_bare_on_each_image_alone(name, network):
    images, classes = images_for(network), torch.tensor([0, 1, 4])
    maps = maps_of(METHODS[name], network, images, classes)
    assert maps.shape == (3, *network.input_size)
    assert not maps.requires_grad
    for number, (image, class_, seed) in enumerate(zip(images, classes.tolist(), SEEDS, strict=True)):
        expected = bare(name, network, image[None], class_, seed).sum(1)[0].detach().double()
        assert expected.abs().max() > 0
        torch.testing.assert_close(maps[number], expected, rtol=1e-4, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("name", METHODS)
def test_map_of_an_image_depends_neither_on_its_batch_nor_on_the_size_of_passes(name, small):
    images, classes = images_for(small), torch.tensor([0, 1, 4])
    together = maps_of(METHODS[name], small, images, classes, batch_size=64)
    alone = maps_of(METHODS[name], small, images[1:2], classes[1:2], batch_size=3, seeds=SEEDS[1:2])
    torch.testing.assert_close(together[1], alone[0], rtol=1e-5, atol=1e-7 * alone.abs().max().item())


@pytest.mark.parametrize("name", METHODS)
def test_method_draws_from_no_global_stream_and_leaves_the_model_as_it_was(name, small):
    images, classes = images_for(small, 2).requires_grad_(), torch.tensor([0, 1])
    small.train()
    before = state_of(small)
    streams = (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate())
    maps_of(METHODS[name], small, images, classes, seeds=SEEDS[:2])
    assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()) == streams
    assert state_of(small) == before
    assert images.grad is None
    assert images.requires_grad


@pytest.mark.parametrize("name", METHODS)
def test_method_that_raises_leaves_the_model_and_the_streams_as_they_were(name, small, monkeypatch):
    before, stream = state_of(small), torch.get_rng_state().tolist()
    calls = []

    def fail_at_the_second(make_pass):
        def pass_or_fail(images):
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("no")
            return make_pass(images)

        return pass_or_fail

    images = images_for(small)
    with monkeypatch.context() as patch:
        for way in ("forward", "infer"):
            patch.setattr(small, way, fail_at_the_second(getattr(small, way)))
        with pytest.raises(RuntimeError, match="no"):
            maps_of(METHODS[name], small, images, torch.tensor([0, 1, 4]), batch_size=1)
    assert torch.get_rng_state().tolist() == stream
    assert state_of(small) == before


def test_integrated_gradients_sum_to_the_difference_of_the_logits(network):
    images, classes = images_for(network), torch.tensor([0, 1, 4])
    maps = maps_of(captum_methods.integrated_gradients, network, images, classes)
    with torch.no_grad():
        logits = (network(images) - network(torch.zeros_like(images))).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(maps.sum((1, 2)), logits, rtol=0.03, atol=0.01)


def test_feature_ablation_of_an_image_cut_by_hand(pooled, monkeypatch):
    """Left half and right half: each pixel has, thrice, what the logit loses without its half."""
    halves = (torch.arange(23) >= 11).long().expand(1, 3, 19, 23)
    monkeypatch.setattr(captum_methods, "superpixels_of", lambda images, seed: halves)
    image, class_ = images_for(pooled, 1), torch.tensor([2])
    (map_,) = maps_of(captum_methods.feature_ablation, pooled, image, class_, seeds=[1])
    with torch.no_grad():
        whole, left, right = pooled(torch.cat([image, image * halves, image * (1 - halves)]))[:, 2]
    torch.testing.assert_close(map_[0], torch.cat([3 * (whole - left).expand(11), 3 * (whole - right).expand(12)]))


def test_kernel_shap_of_two_superpixels_is_their_shapley_value(pooled, monkeypatch):
    halves = (torch.arange(23) >= 11).long().expand(1, 3, 19, 23)
    monkeypatch.setattr(captum_methods, "superpixels_of", lambda images, seed: halves)
    image, class_ = images_for(pooled, 1), torch.tensor([2])
    (map_,) = maps_of(captum_methods.kernel_shap, pooled, image, class_, seeds=[1])
    with torch.no_grad():
        whole, right, left, none = pooled(torch.cat([image, image * halves, image * (1 - halves), image * 0]))[:, 2]
    shapley = torch.stack([whole - right + left - none, whole - left + right - none]) / 2
    torch.testing.assert_close(map_[0, [0, -1]] / 3, shapley, rtol=1e-3, atol=1e-5)


def test_kernel_shap_of_a_single_superpixel_is_the_whole_difference(pooled, monkeypatch):
    one = torch.zeros(1, 3, 19, 23, dtype=torch.long)
    monkeypatch.setattr(captum_methods, "superpixels_of", lambda images, seed: one)
    image = images_for(pooled, 1)
    (map_,) = maps_of(captum_methods.kernel_shap, pooled, image, torch.tensor([2]), seeds=[1])
    with torch.no_grad():
        whole, none = pooled(torch.cat([image, image * 0]))[:, 2]
    torch.testing.assert_close(map_, (3 * (whole - none)).expand(19, 23))


def test_passes_are_halved_for_good_when_memory_runs_out(small, monkeypatch):
    forward, sizes = small.forward, []

    def fits_five(make_pass):
        def pass_or_fail(images):
            sizes.append(len(images))
            if len(images) > 5:
                raise RuntimeError("CUDA out of memory")
            return make_pass(images)

        return pass_or_fail

    images, classes = images_for(small), torch.tensor([0, 1, 4])
    expected = maps_of(captum_methods.smoothgrad, small, images, classes, batch_size=3)
    passes = Passes(small, 16)
    monkeypatch.setattr(small, "forward", fits_five(forward))
    monkeypatch.setattr(small, "infer", fits_five(small.infer))
    torch.testing.assert_close(passes(images.repeat(4, 1, 1, 1)), forward(images).repeat(4, 1).detach())
    assert passes.size == 4
    assert sizes == [12, 8, 4, 4, 4]
    torch.testing.assert_close(maps_of(captum_methods.smoothgrad, small, images, classes, batch_size=5), expected)


def test_settings_are_what_the_documentation_says():
    assert SETTINGS.baseline == 0
    assert (SETTINGS.steps, SETTINGS.noisy, SETTINGS.samples) == (50, 50, 1000)
