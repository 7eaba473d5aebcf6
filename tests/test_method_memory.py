"""Of every attention method: it keeps nothing of an image, and its maps depend on the class where METHODS says so."""

import gc
from dataclasses import replace

import pytest
import torch
from explained import tiny_vit
from torch import Tensor, nn

from attnlab.attacks import ATTACKS
from attnlab.attention import METHODS, captum_methods
from attnlab.attention.captum_methods import SETTINGS
from attnlab.errors import UserError
from attnlab.models import Classifier
from attnlab.pipelines.fused_pass import fused_pass

#: makers, since what is drawn while the file is imported follows no seed
HEADS = {
    "pooled": lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)],
    "flat": lambda: [nn.Flatten(), nn.Linear(96, 5)],
}


def network(head: str) -> Classifier:
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 6, 3), nn.ReLU()]
    return Classifier(nn.Sequential(*first, *HEADS[head]()), layer="4", input_size=(12, 12)).eval()


NAMES = [name for name, method in METHODS.items() if method.maps]


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(captum_methods, "SETTINGS", replace(SETTINGS, samples=60))


@pytest.fixture(scope="module")
def alone() -> None:
    """Look among no object of other tests."""
    gc.collect()
    gc.freeze()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("method", NAMES)
def test_methods_keep_no_tensor_of_a_batch(method, head):
    classifier = network(head)
    try:
        METHODS[method].check(classifier)
    except UserError as reason:
        pytest.skip(str(reason))
    images, labels, counts = torch.rand(2, 3, 12, 12), torch.tensor([0, 3]), []
    for _ in range(3):
        fused_pass(classifier, images.clone(), labels, [ATTACKS["stepll"]], {method: "true"}, [0, 1])
        gc.collect()
        counts.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))
    assert counts[1] == counts[2]


@pytest.mark.parametrize("method", NAMES)
def test_maps_of_two_classes_differ_unless_the_registry_says_that_none_is_looked_at(method):
    classifier = tiny_vit().float() if method in ("attention-rollout", "chefer") else network("pooled")
    torch.manual_seed(0)  # of some images guided-grad-cam's maps are 0, of either class
    images, maps = torch.rand(2, 3, *classifier.input_size), []
    for label in (0, 3):
        labels = torch.full((2,), label)
        seen, _ = fused_pass(classifier, images.clone(), labels, [ATTACKS["stepll"]], {method: "true"}, [0, 1])
        maps.append(seen.maps[method])
    assert torch.equal(*maps) != METHODS[method].of_class
