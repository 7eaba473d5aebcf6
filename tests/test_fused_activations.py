"""Activations that convolutions apply themselves: the same logits, found in modules and functions alike."""

import copy
import pickle

import numpy as np
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
    fused = FusedActivations.of(net, net, images[:2])
    assert len(convolved) == count
    torch.testing.assert_close(fused(net, images), net(images), atol=1e-6, rtol=1e-5)
    assert len(convolved) == 2 * count


# ------------------------------------------------------------------ passes that are not as they were watched


def by_the_images(net, x):
    x = net.relu(x)
    return net.second(x).relu() if x.mean() > 0.5 else net.same(x) * 2


def limits_of_the_images(net, x):
    largest = float(net.seen.abs().amax()) / 4
    return F.hardtanh(x, -largest, largest)


def read_on_one_way(net, x):
    """Where the functions are the same either way."""
    large, other = bool(net.seen.abs().mean() > 1), net.seen.mean(1, keepdim=True).expand(-1, 8, -1, -1)
    shown = F.relu(x)
    return shown + (x if large else other)


def caught(net, x):
    try:
        shown = net.second(x.relu()).neg() if net.seen.abs().mean() > 1 else net.second(x.relu()).abs()
    except Exception:
        shown = net.second(x.abs())
    return net.same(shown).relu()


def in_place_on_the_images(net, x):
    mean = float(net.seen.abs().mean())
    net.seen.sub_(mean)
    shown = net.relu(net.first(net.seen))
    return shown if mean < 1 else shown.amax((2, 3), keepdim=True)


def by_a_gradient(net, x):
    with torch.enable_grad():
        other = net.seen.detach().requires_grad_()
        energy = F.relu(net.first(other)).square().sum() + other.sum()
        (gradient,) = torch.autograd.grad(energy, other)
    return net.first(net.seen - gradient).relu()


def standardised(net, x):
    spread = net.seen.std((1, 2, 3), keepdim=True)
    return F.relu(net.first((net.seen - net.seen.mean((1, 2, 3), keepdim=True)) / spread))


def divided_in_place(net, x):
    shown = F.relu(x)
    shown[:, :, :, 1:].div_(net.seen[:, :1, :, 1:].abs().amax((1, 2, 3), keepdim=True))
    return F.relu(net.second(shown))


def alone(net, x):
    if len(x) == 1:
        return net.second(net.seen.new_ones(8, 32, 32) * x.amax()).relu()[None]
    return net.second(x.relu()).relu()


OTHERS = {
    "another function by the images": by_the_images,
    "limits by the images": limits_of_the_images,
    "another reader by the images": read_on_one_way,
    "an exception that the network catches": caught,
    "work in place on the images": in_place_on_the_images,
    "a gradient inside": by_a_gradient,
    "NaN by the images": standardised,
    "NaN in place": divided_in_place,
    "one image by itself": alone,
}


class Seeing(Net):
    """The same, whose middle finds the images in `seen`."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return super().forward(x)


@pytest.mark.parametrize("name", OTHERS)
def test_a_network_that_takes_another_way_gives_its_own_logits(name, images):
    net = Seeing(OTHERS[name])
    classifier = Classifier(net, input_size=32).eval()
    grey = torch.full_like(images, 0.5)
    grey[1:] = images[1:]
    with torch.no_grad():
        for some in (images, 10 * images, grey, images[:1], 0 * images):
            expected = classifier.logits(some.clone())
            found = classifier.infer(some.clone())
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("stride", [1, (2,), np.int64(2)])
@pytest.mark.parametrize("named", [True, False])
@torch.no_grad()
def test_convolutions_are_fused_however_they_are_called(stride, named, images):
    weight, bias = torch.randn(8, 8, 3, 3), torch.randn(16)[::2].contiguous()

    def middle(net, x):
        if named:
            return F.conv2d(x.relu(), weight=weight, bias=bias, stride=stride).relu()
        return F.conv2d(x.relu(), weight, bias, stride).relu()

    net = Net(middle)
    fused = FusedActivations.of(net, net, images[:2])
    assert len(fused.fused) == 2
    torch.testing.assert_close(fused(net, images), net(images), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_what_onednn_does_otherwise_is_left_to_torch(images, monkeypatch):
    weight, bias = torch.randn(8, 8, 3, 3), torch.randn(16)[::2]  # of which it would take the first eight
    for middle in (
        lambda net, x: F.conv2d(x, weight, bias).relu(),
        lambda net, x: net.second(x[0])[None].relu(),
        lambda net, x: net.second.double()(x.double()).relu().float(),
    ):
        net = Net(middle)
        assert FusedActivations.of(net, net, images[:2]).fused == {}
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    net = Net(in_functions)
    assert FusedActivations.of(net, net, images[:2]).fused == {}


def test_an_encoder_that_leaves_padding_out_is_left_as_it_is(images):
    net = Net(in_functions)
    net.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, batch_first=True), 1)
    assert FusedActivations.of(net, net, images[:2]) == FusedActivations()


def test_a_first_pass_draws_nothing_that_others_would_have_drawn(images):
    classifier = Classifier(Net(lambda net, x: x.relu() * torch.rand(())), input_size=32).eval()
    torch.manual_seed(3)
    first = classifier.infer(images), torch.rand(3)
    torch.manual_seed(3)
    second = classifier.infer(images), torch.rand(3)
    assert all(map(torch.equal, first, second))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@torch.no_grad()
def test_what_the_watch_cannot_see_is_seen_by_its_logits(images):
    hidden = torch.jit.trace(lambda x: x.amin((2, 3), keepdim=True), images[:, :1].expand(-1, 8, -1, -1))
    net = Net(lambda net, x: hidden(x) + F.relu(x))
    assert FusedActivations.of(net, net, images[:2]) == FusedActivations()


@torch.no_grad()
def test_none_in_double_precision(images):
    net = Net(MIDDLES["modules"][0]).double()
    assert FusedActivations.of(net, net, images[:2].double()).fused == {}


def test_every_pass_of_a_classifier_is_the_same_to_the_bit(images):
    classifier = Classifier(Net(in_functions), input_size=32).place("cpu", memory_format="folded")
    classifier.eval()
    normal = classifier.normalise(images)
    first, second = classifier.infer(normal), classifier.infer(normal)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, classifier.logits(normal), atol=1e-6, rtol=1e-5)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(classifier)))
    assert torch.equal(copied.infer(normal), first)


@pytest.mark.parametrize("change", ["other", "nan", "double"])
def test_new_weights_are_the_ones_that_count(change, images):
    classifier = Classifier(Net(in_functions), input_size=32).place("cpu")
    classifier.eval()
    before = classifier.infer(classifier.normalise(images))
    if change == "double":
        classifier.double()
    with torch.no_grad():
        classifier.network.first.weight.neg_() if change != "nan" else classifier.network.first.bias.fill_(torch.nan)
    normal = classifier.normalise(images)
    after = classifier.infer(normal)
    assert not torch.allclose(before, after.float())
    torch.testing.assert_close(after, classifier.logits(normal), atol=1e-6, rtol=1e-5, equal_nan=True)


def test_a_network_that_cannot_be_watched_is_left_as_it_is(images):
    def middle(net, x):
        if torch.overrides._get_current_function_mode() is not None:
            raise RuntimeError("watched")
        return in_functions(net, x)

    classifier = Classifier(Net(middle), input_size=32).eval()
    with torch.no_grad():
        assert torch.equal(classifier.infer(images), classifier.logits(images))
