"""Passes of methods' own: what they cost, how many images each has, and that memory that runs out changes no map."""

from dataclasses import replace

import pytest
import torch
from common import analyze_images
from explained import SEEDS, tiny_vit
from torch import nn

from attnlab.attention import METHODS, captum_methods
from attnlab.attention.several import Maker
from attnlab.config import AnalyzeConfig
from attnlab.data import load_dataset
from attnlab.hooks import frozen_eval
from attnlab.models import Classifier
from attnlab.pipelines import hardware, own_passes
from attnlab.pipelines.analyze import open_analysis
from attnlab.pipelines.own_passes import maps_cost

OWN = [name for name, method in METHODS.items() if method.maps and method.needs == "passes"]
TOKENS = ("attention-rollout", "chefer")
CHANNELS, SUPERPIXELS = 6, 7
FEW = replace(captum_methods.SETTINGS, steps=6, noisy=6, samples=20, window=1 / 3)
TRIAL = {"ablation-cam": 5}  # passes of a batch, whatever its size, that show whether channels can share one


def network_for(method: str, side: int) -> tuple[Classifier, nn.Module]:
    """A network that allows the method, in float64, and its last layer."""
    if method in TOKENS:
        classifier = tiny_vit()
        return classifier, classifier.network.heads.head
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, CHANNELS, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(3)]
    network = nn.Sequential(*first, nn.Flatten(), nn.Linear(CHANNELS * 9, 5))
    return Classifier(network, layer="3", input_size=(side, side)).double().eval(), network[-1]


@pytest.fixture
def cut(monkeypatch):
    """Superpixels that are columns."""

    def columns(images, seed):
        numbers = torch.arange(images.shape[3]) * SUPERPIXELS // images.shape[3]
        return numbers.expand(1, *images.shape[1:]).contiguous()

    monkeypatch.setattr(captum_methods, "superpixels_of", columns)


def maps_of(classifier: Classifier, method: str, batch_size: int, count: int = 3) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, *classifier.input_size, generator=draw, dtype=torch.float64)
    maker = Maker(classifier, {method: "true"}, batch_size)
    with frozen_eval(classifier):
        return maker.finish(maker.look(images, torch.tensor([0, 3, 1][:count]), SEEDS[:count], cut=True))[method]


@pytest.mark.parametrize("method", OWN)
def test_a_batch_that_is_too_large_is_halved_with_the_same_maps(method, cut, monkeypatch):
    monkeypatch.setattr(captum_methods, "SETTINGS", FEW)
    classifier, last = network_for(method, 12)
    expected, forward, refused = maps_of(classifier, method, 2), last.forward, []

    def short(values):
        if len(values) > 3:
            refused.append(len(values))
            raise RuntimeError("CUDA out of memory")
        return forward(values)

    monkeypatch.setattr(last, "forward", short)
    torch.testing.assert_close(maps_of(classifier, method, 64), expected, rtol=1e-9, atol=1e-12)
    assert refused or METHODS[method].cost.most <= 5  # of which three images fill no pass of more


@pytest.mark.parametrize("method", OWN)
def test_a_method_costs_what_the_registry_says(method, cut):
    classifier, last = network_for(method, 56)
    with pytest.MonkeyPatch.context() as patch:  # what is found out of a network once is found out
        patch.setattr(captum_methods, "SETTINGS", FEW)
        maps_of(classifier, method, 64, count=1)
    passes = []

    def count(module, inputs, output):
        passes.append(len(output))
        if output.requires_grad:
            output.register_hook(lambda gradient: passes.append(2 * len(gradient)))

    with last.register_forward_hook(count):
        maps_of(classifier, method, 64, count=1)
    cost = METHODS[method].cost
    most = cost.most * {"": 1, "channel": CHANNELS, "superpixel": SUPERPIXELS}[cost.each]
    assert 0.8 * most <= sum(passes) - 1 <= most + TRIAL.get(method, 1)


def test_the_fastest_batch_of_gradients_is_found_where_memory_is_short(resnet8, monkeypatch):
    logits = type(resnet8).logits

    def small_device(self, normalised, *more):
        if len(normalised) > 4:
            raise RuntimeError("CUDA out of memory")
        return logits(self, normalised, *more)

    monkeypatch.setattr(type(resnet8), "logits", small_device)
    size, speed = hardware.map_batch_size(resnet8)
    assert size in (1, 2, 4)
    assert speed > 0
    assert not any(parameter.grad is not None for parameter in resnet8.parameters())


def test_the_estimate_counts_maps_of_measures_and_of_random_weights():
    methods = "grad-cam,integrated-gradients,score-cam,lime"
    config = AnalyzeConfig.of(method=methods, eps="4/255,8/255")
    costs = {"integrated-gradients": 150, "score-cam": 50}
    assert maps_cost(config, 40, costs, 400.0) == (
        "other methods' own passes: about 0:01:00: 24,000 passes (40 images, 120 maps of 200 passes: "
        "integrated-gradients 150, score-cam 50) at 400 a second"
    )
    near = maps_cost(AnalyzeConfig.of(method=methods, eps="4/255", measures="iou,max-sensitivity"), 40, costs, 400.0)
    assert "(40 images, 880 maps of 200 passes" in near  # ten near each of 80
    random = maps_cost(AnalyzeConfig.of(method=methods, eps="4/255", sanity=True), 40, costs, 400.0)
    assert "(40 images, 416 maps of 200 passes" in random  # 21 times those of 16 images beside 80


def test_a_run_tries_its_passes_once_where_it_pays_and_keeps_their_size(tmp_path, resnet8, monkeypatch):
    images = load_dataset("scenes")

    def opened(folder, **more):
        options = {"out": tmp_path / folder, "batch_size": 8, "method": "score-cam,grad-cam,saliency", **more}
        return open_analysis(AnalyzeConfig.of(**options), resnet8, images, range(3))

    few = opened("few")
    assert (few.config.map_batch_size, few.cost) == (8, "")
    monkeypatch.setattr(own_passes, "WORTH_TRYING", 6 * (96 + 3))  # channels of the layer, and saliency
    monkeypatch.setattr(hardware, "map_batch_size", lambda classifier: (5, 100.0))
    tried = opened("tried")
    assert tried.manifest()["map_batch_size"] == tried.config.map_batch_size == 5
    assert tried.cost.startswith("other methods' own passes: about 0:00:06: 594 passes (3 images, 6 maps of 99 passes")
    assert opened("named", map_batch_size=7).config.map_batch_size == 7
    options = {"batch_size": 8, "method": "saliency", "map_batch_size": 3, "positions": range(3)}
    run = analyze_images(resnet8, images, tmp_path / "run", **options)
    monkeypatch.setattr(own_passes, "WORTH_TRYING", 0)
    again = opened("run", method="saliency")
    assert (again.config.map_batch_size, again.cost) == (3, "")
    manifest = run.folder / "run.json"
    manifest.write_text(manifest.read_text().replace('"map_batch_size": 3,', ""))
    assert opened("run", method="saliency").config.map_batch_size == 8  # as runs of before had it
    assert opened("alone", method="grad-cam").config.map_batch_size is None
