"""The closed form of a map holds for all weights, or is given up."""

import layout_networks as networks
import pytest
import torch
from layout_maps import by_hand, classifier_of, noise
from torch import nn

from attnlab.attention.gradcam import grad_cam
from attnlab.models import Classifier
from attnlab.models.trace import Trace


def test_maps_are_autograds_after_steps_that_open_a_gate_of_zeros():
    network = networks.gated().double()
    classifier = classifier_of(network)
    optimizer = torch.optim.SGD(network.parameters(), 0.5)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(classifier(noise(8)), torch.arange(8)).backward()
        optimizer.step()
    assert network.gamma.abs() > 0.01
    expected = by_hand(classifier, noise(2), torch.tensor([1, 5]), lambda values: values, "features").detach()
    torch.testing.assert_close(grad_cam(classifier, noise(2), torch.tensor([1, 5])), expected, rtol=1e-9, atol=1e-12)


def test_a_bend_that_small_features_do_not_reach_proves_nothing():
    assert Classifier(networks.bent()).head is None


@pytest.mark.parametrize("placed", [True, False])
def test_the_closed_form_is_proven_again_where_a_module_was_replaced(placed):
    classifier = classifier_of(networks.Convolutions())
    assert classifier.head == "fc"
    classifier.network.features[4] = nn.Sequential(nn.ReLU(), nn.MaxPool2d(1))  # the same function
    grad_cam(classifier, noise(1), torch.tensor([2]))
    assert classifier.head == "fc"
    forward = networks.gated.forward
    classifier.network.gamma, classifier.network.extra = (
        nn.Parameter(torch.ones(1).double()),
        nn.Linear(12 * 24, 10).double(),
    )
    classifier.network.forward = forward.__get__(classifier.network)
    classifier = classifier.place("cpu", "fp64") if placed else classifier.double()
    expected = by_hand(classifier, noise(1), torch.tensor([2]), lambda values: values, "features").detach()
    torch.testing.assert_close(grad_cam(classifier, noise(1), torch.tensor([2])), expected, rtol=1e-9, atol=1e-12)
    assert classifier.head is None


def test_nothing_is_proven_again_where_no_weight_changed(monkeypatch):
    classifier = classifier_of(networks.Convolutions()).place("cpu", "fp64", "folded")
    monkeypatch.setattr("attnlab.models.classifier.prove", lambda *_: pytest.fail("proven again"))
    grad_cam(classifier, noise(1), torch.tensor([2]))
    classifier.foldable()
    grad_cam(classifier, noise(1), torch.tensor([2]))


def test_a_pass_keeps_an_output_unless_it_is_worked_on_in_place():
    convolution = nn.Conv2d(3, 4, 3)
    network = nn.Sequential(convolution, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    images = noise(2, (8, 8)).float()

    def trace_of(layer: nn.Module | None) -> Trace:
        with torch.no_grad():
            return Trace.of(network, lambda: network(images), (8, 8), layer)

    assert trace_of(convolution).output_of("0") is None
    assert torch.equal(trace_of(None).output_of("1"), convolution(images).relu())
