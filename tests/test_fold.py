"""Folded batch norms against the network as it was."""

import pytest
import torch
from torch import Tensor, nn

from attnlab.attention.gradcam import grad_cam
from attnlab.models import load_model
from attnlab.models.fold import fold_batch_norms


def with_statistics(network: nn.Module) -> nn.Module:
    """Batch norms that do something, as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network


@pytest.mark.parametrize(("name", "norms"), [("resnet18", 20), ("inception_v3", 94), ("densenet121", 59)])
def test_folding_changes_neither_logits_nor_maps(name, norms):
    classifier = load_model(name, "none").double()
    with_statistics(classifier.network)
    images = torch.rand(2, 3, *classifier.input_size, generator=torch.Generator().manual_seed(1)).double()
    classes = torch.tensor([1, 5])
    before = classifier(images), grad_cam(classifier, images, classes)
    classifier.network, folded = fold_batch_norms(classifier.network, classifier.normalise(images))
    assert folded == norms
    torch.testing.assert_close(classifier(images), before[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grad_cam(classifier, images, classes), before[1], rtol=1e-9, atol=1e-9)


def test_the_network_given_is_left_as_it_was():
    network = with_statistics(load_model("resnet18", "none").network)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    folded, _ = fold_batch_norms(network, torch.rand(1, 3, 64, 64))
    assert folded is not network
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_a_convolution_whose_own_output_is_read_is_not_folded():
    network = load_model("resnet18", "none").network
    _, folded = fold_batch_norms(network, torch.rand(1, 3, 64, 64), keep="layer4.1.conv2")
    assert folded == 19


def test_a_convolution_that_something_else_reads_too_is_not_folded():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return (x + self.norm(x)).mean((2, 3))

    network = with_statistics(Twice()).eval()
    assert fold_batch_norms(network, torch.rand(2, 3, 8, 8)) == (network, 0)


def test_placing_tells_what_was_folded_and_keeps_the_weights_hash():
    classifier = load_model("resnet8")
    before = classifier.describe()
    after = classifier.place("cpu", "bf16", "folded").describe()
    assert (before["folded_batch_norms"], after["folded_batch_norms"]) == (0, 7)
    assert before["sha256"] == after["sha256"]
