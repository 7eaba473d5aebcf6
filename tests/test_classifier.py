"""The wrapped network: what it finds out about it, where it puts it, and how its weights are known again."""

from functools import partial

import numpy as np
import pytest
import torch
from common import NET
from torch import nn

from attnlab.models import MEMORY_FORMATS, Classifier, load_model
from attnlab.models.fused_activations import FusedInference


class Shared(nn.Module):
    """One ReLU that runs twice, on larger maps and on smaller ones."""

    input_size = (16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, 4, padding=1)
        self.relu, self.last = nn.ReLU(), nn.Linear(5, 7)

    def forward(self, x):
        return self.last(self.relu(self.second(self.relu(self.first(x)))).mean((2, 3)))


def test_of_a_module_that_runs_several_times_the_last_output_counts():
    classifier = Classifier(Shared())
    assert classifier.attention_layer == "relu"
    assert classifier.map_shape == (4, 4)
    assert classifier.head == "last"


@pytest.mark.parametrize("make", [list, tuple, np.array])
def test_mean_and_std_may_be_any_plain_numbers(make):
    network = Shared()
    network.mean, network.std = make([0.1, 0.2, 0.3]), make([0.4, 0.5, 0.6])
    images = torch.rand(2, 3, 16, 16)
    mean, std = torch.tensor([0.1, 0.2, 0.3])[:, None, None], torch.tensor([0.4, 0.5, 0.6])[:, None, None]
    expected = network((images - mean) / std)
    torch.testing.assert_close(Classifier(network)(images), expected)


class InPlace(Shared):
    """A network that normalises for itself, where its images lie."""

    def forward(self, x):
        return super().forward(x.sub_(0.5))


def test_images_of_a_network_without_mean_and_std_are_taken_as_they_are_and_left_so():
    classifier, images = Classifier(InPlace()), torch.rand(2, 3, 16, 16)
    assert torch.equal(classifier.normalise(images), images)
    assert not Classifier(load_model("resnet8").network).as_it_is
    before = images.clone()
    watched = images.requires_grad_()
    torch.autograd.grad(classifier(watched).sum(), watched)
    assert torch.equal(images, before)
    network = Shared()
    network.std = [1, 1, 0.5]
    assert torch.equal(Classifier(network).normalise(before)[:, 2], before[:, 2] / 0.5)


@pytest.mark.parametrize("layout", MEMORY_FORMATS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_are_known_again_wherever_and_however_they_are_placed(layout, precision):
    came = load_model("resnet8").fingerprint()
    classifier = load_model("resnet8").place("cpu", precision, layout)
    assert classifier.sha256 == came
    assert classifier.place("cpu").sha256 == came


def test_weights_that_were_changed_after_they_were_placed_are_others():
    classifier = load_model("resnet8").place("cpu")
    came = classifier.sha256
    with torch.no_grad():
        classifier.network.classifier.bias += 1
    changed = classifier.sha256
    assert changed not in (came, "")
    assert classifier.describe()["sha256"] == changed
    assert classifier.place("cpu").sha256 == changed


def test_a_users_file_that_builds_another_network_is_another_model(tmp_path):
    """Its weights may be the same; comments do not matter."""
    path = tmp_path / "net.py"
    known = []
    commented = f"\ufeff# -*- coding: utf-8 -*-\n\n# a comment\n{NET}"
    other = NET.replace("self.last(self.body(x))", "self.last(self.body(x)).tanh()")
    for text in (NET, commented, other):
        path.write_text(text)
        known.append(load_model(f"{path}:build").describe())
    assert known[0] == known[1]
    assert known[0]["sha256"] == known[2]["sha256"]
    assert known[0] != known[2]
    assert "code" not in load_model("resnet8").describe()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_a_network_may_lie_on_its_device_already():
    network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 12 * 12, 7))
    network.input_size = (16, 16)
    classifier = Classifier(network.to("cuda"))
    assert classifier.device.type == "cuda"
    assert (classifier.attention_layer, classifier.map_shape, classifier.classes) == ("1", (12, 12), 7)


def compiled() -> tuple[Classifier, torch.Tensor, torch.Tensor]:
    """A classifier whose compiled passes are its own for batches of three sizes; the last images and their logits."""
    classifier = Classifier(Shared()).place("cpu")
    classifier.compile_inference()
    for size in (1, 3, 2):
        images = torch.rand(size, 3, 16, 16, generator=torch.Generator().manual_seed(size))
        logits = classifier.infer(classifier.normalise(images))
        assert not logits.requires_grad
        torch.testing.assert_close(logits, classifier(images).detach(), rtol=1e-4, atol=1e-6)
    return classifier, images, logits


@pytest.mark.slow  # code is made and compiled for each kind of batch
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch's own compiler
def test_compiled_passes_are_those_of_the_network_for_every_batch():
    classifier, images, logits = compiled()
    assert classifier(images).requires_grad  # others are the network's own
    with torch.no_grad():
        classifier.network.last.bias += 1
    torch.testing.assert_close(classifier.infer(classifier.normalise(images)), logits)  # the weights are constants
    after = classifier.place("cpu").infer(classifier.normalise(images))
    torch.testing.assert_close(after, logits + 1, rtol=1e-4, atol=1e-6)


def test_traced_passes_are_those_of_the_network_and_others_are_its_own(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    classifier, images, _ = compiled()
    assert classifier(images).requires_grad
    classifier.place("cpu")
    assert isinstance(classifier._inference, FusedInference)
