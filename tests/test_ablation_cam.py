"""Ablation-CAM: in plain loops, against grad-cam, and how many passes it takes."""

import pytest
import torch
from perturbed_layers import CLASSES, NETWORKS, classifier_of, features_of, maps_of, noise, run_with
from pytorch_grad_cam import AblationCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from attnlab.hooks import find_layer
from attnlab.models import Classifier


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch_size", [3, 64])
def test_ablation_cam_equals_its_definition_in_plain_loops(name, batch_size):
    classifier, images = classifier_of(name), noise()
    expected = []
    for image, label in zip(images, CLASSES, strict=True):
        features, whole = features_of(classifier, image), classifier(image[None])[0, label].detach()
        drops = []
        for channel in range(len(features)):
            drops.append(whole - run_with(classifier, lambda values, at=channel: values[at].zero_(), image)[label])
        expected.append((torch.stack(drops)[:, None, None] * features).sum(0))
    ours = maps_of(classifier, images, "ablation-cam", batch_size)
    torch.testing.assert_close(ours, torch.stack(expected), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["closed form", "bent"])
def test_ablation_cam_equals_grad_cams_times_the_logit(name):
    classifier, images = classifier_of(name), noise()
    layer = find_layer(classifier.network, classifier.attention_layer)
    targets = [ClassifierOutputTarget(label) for label in CLASSES.tolist()]
    with AblationCAM(classifier.network, [layer]) as cam:
        features = torch.stack([features_of(classifier, image) for image in images]).numpy()
        assert features.min() == 0  # else grad-cam ablates otherwise
        theirs = cam.get_cam_image(classifier.normalise(images), layer, targets, features, None)
    logits = classifier(images).detach()[range(3), CLASSES]
    assert (logits < 0).any()
    expected = torch.from_numpy(theirs).double() * logits[:, None, None]
    ours = maps_of(classifier, images, "ablation-cam")
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5 * ours.abs().max().item())


class Joined(nn.Module):
    """A network that joins the layer's output to what lies before it, as DenseNet does, or counts images before it."""

    input_size = (16, 24)

    def __init__(self, *, counts: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.counts = counts
        self.first, self.features = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 8, 1)
        self.fc = nn.Linear(8 if counts else 14, 10)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.features(first).relu()
        if self.counts:
            return self.fc(second.amax((2, 3))) * len(first) / len(second)
        return self.fc(torch.cat([first, second], 1).amax((2, 3)))


@pytest.mark.parametrize("counts", [True, False])
def test_where_one_pass_before_the_layer_does_not_serve_all_channels_the_whole_network_runs(counts, monkeypatch):
    classifier, images = Classifier(Joined(counts=counts), "features").double().eval(), noise()
    asked = count_images(classifier, monkeypatch)
    ours = maps_of(classifier, images, "ablation-cam")
    assert asked[-3:] == [8, 8, 8]
    for image, label, own in zip(images, CLASSES, ours, strict=True):
        features, whole = features_of(classifier, image), classifier(image[None])[0, label].detach()
        drops = [
            whole - run_with(classifier, lambda values, at=at: values[at].zero_(), image)[label] for at in range(8)
        ]
        torch.testing.assert_close(own, (torch.stack(drops)[:, None, None] * features).sum(0))


def count_images(classifier: Classifier, monkeypatch) -> list[int]:
    """How many images each pass of the network gets from now on."""
    asked: list[int] = []
    logits = classifier.logits
    monkeypatch.setattr(classifier, "logits", lambda inputs, *rows: asked.append(len(inputs)) or logits(inputs, *rows))
    return asked


def test_one_pass_before_the_layer_serves_all_channels_of_an_image(monkeypatch):
    classifier = classifier_of("tokens")
    asked = count_images(classifier, monkeypatch)
    maps_of(classifier, noise(), "ablation-cam")
    assert asked[-3:] == [1, 1, 1]


def test_a_closed_form_takes_no_pass(monkeypatch):
    classifier = classifier_of("closed form")
    asked = count_images(classifier, monkeypatch)
    maps_of(classifier, noise(), "ablation-cam")
    assert len(asked) == 1


class Reused(nn.Module):
    """One ReLU behind both convolutions."""

    input_size = (16, 24)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second, self.relu = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 1), nn.ReLU()
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.second(self.relu(self.first(x)))).amax((2, 3)))


def test_of_a_layer_that_runs_twice_the_last_output_is_ablated():
    classifier, images = Classifier(Reused(), "relu").double().eval(), noise(1)
    network = classifier.network
    features = network.second(network.first(images).relu()).relu().detach()[0]
    without = features.expand(8, -1, -1, -1).clone()
    without[range(8), range(8)] = 0
    logits = [network.fc(values.amax((-2, -1)))[..., 1].detach() for values in (features, without)]
    expected = ((logits[0] - logits[1])[:, None, None] * features).sum(0)
    assert expected.abs().max() > 0
    torch.testing.assert_close(maps_of(classifier, images, "ablation-cam")[0], expected)
