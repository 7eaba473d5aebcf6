"""Activations that convolutions apply themselves: the same logits, found in modules and functions alike."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.models import Classifier, fused_activations
from attnlab.models.fused_activations import FusedActivations, _convolve


class Net(nn.Module):
    """A network of three convolutions whose middle, from the first one's output on, is given."""

    def __init__(self, middle) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2)
        self.same = nn.Conv2d(8, 8, 3, padding="same")
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(8, 4)
        self.middle = middle
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self, self.first(x)).mean((2, 3)))


def in_functions(net, x):
    return F.relu(net.second(torch.relu(x)))


def used_before(net, x):
    pooled = x.amax((2, 3), keepdim=True)
    return F.relu(x) + pooled


def used_after(net, x):
    return net.second(F.relu(x)).relu_() + x[:, :, :15, :15]


def twice_by_one_module(net, x):
    return net.relu(net.second(net.relu(x)) + 1)


def branches(net, x):
    x = net.relu(x)
    return net.second(x).relu() if x.mean() > 0.5 else net.same(x) * 2


MIDDLES = {  # what lies behind the first convolution, and how many activations are fused
    "modules": (lambda net, x: net.relu(net.second(net.relu(x))), 2),
    "functions": (in_functions, 2),
    "methods": (lambda net, x: net.second(x.relu_()).relu(), 2),
    "limits": (lambda net, x: F.relu6(net.second(F.hardtanh(x, -0.2, max_val=0.1))), 2),
    "limits by default": (lambda net, x: nn.ReLU6()(net.second(nn.Hardtanh()(x))), 2),
    "in place by position": (lambda net, x: F.relu6(net.second(F.relu(x, True)), True), 2),
    "none to fuse": (lambda net, x: net.second(x).sigmoid(), 0),
    "padding by name": (lambda net, x: net.same(F.relu(x)).relu(), 1),
    "one module twice, once behind a sum": (twice_by_one_module, 1),
    "read before the activation": (used_before, 0),
    "read after the activation": (used_after, 1),
    "in place, and read after it": (lambda net, x: net.second(x.relu_()) + x[:, :, :15, :15], 1),
    "given to itself": (lambda net, x: torch.add(x, x).relu(), 0),
}


@pytest.fixture
def images():
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1)) - 0.5


@pytest.mark.parametrize("name", MIDDLES)
@torch.no_grad()
def test_the_fused_pass_gives_the_same_logits(name, images, monkeypatch):
    middle, count = MIDDLES[name]
    net, convolved = Net(middle), []

    def convolve(*arguments):
        convolved.append(arguments[0])
        return _convolve(*arguments)

    monkeypatch.setattr(fused_activations, "_convolve", convolve)
    fused = FusedActivations.of(net, images[:2])
    assert len(convolved) == count
    torch.testing.assert_close(fused(net, images), net(images), atol=1e-6, rtol=1e-5)
    assert len(convolved) == 2 * count


@torch.no_grad()
def test_a_network_that_takes_another_way_gives_its_own_logits(images):
    net = Net(branches)
    fused = FusedActivations.of(net, images[:2])
    assert fused.fused
    several = [images * scale for scale in (1, 10)]
    means = [net.first(one).relu().mean() for one in several]
    assert min(means) < 0.5 < max(means)
    for one in several:
        torch.testing.assert_close(fused(net, one), net(one), atol=1e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@torch.no_grad()
def test_what_the_watch_cannot_see_is_seen_by_its_logits(images):
    hidden = torch.jit.trace(lambda x: x.amin((2, 3), keepdim=True), images[:, :1].expand(-1, 8, -1, -1))
    net = Net(lambda net, x: hidden(x) + F.relu(x))
    assert FusedActivations.of(net, images[:2]) == FusedActivations()


@torch.no_grad()
def test_none_in_double_precision(images):
    assert FusedActivations.of(Net(MIDDLES["modules"][0]).double(), images[:2].double()) == FusedActivations()


def test_every_pass_of_a_classifier_is_the_same_to_the_bit(images):
    classifier = Classifier(Net(in_functions), input_size=32).place("cpu", memory_format="folded")
    classifier.eval()
    normal = classifier.normalise(images)
    first, second = classifier.infer(normal), classifier.infer(normal)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, classifier.logits(normal), atol=1e-6, rtol=1e-5)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(classifier)))
    assert torch.equal(copied.infer(normal), first)


def test_new_weights_are_the_ones_that_count(images):
    classifier = Classifier(Net(in_functions), input_size=32).place("cpu")
    classifier.eval()
    normal = classifier.normalise(images)
    before = classifier.infer(normal)
    with torch.no_grad():
        classifier.network.first.weight.neg_()
    after = classifier.infer(normal)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, classifier.logits(normal), atol=1e-6, rtol=1e-5)
