"""Guided backpropagation, deconvolution and DeepLift: captum's own, also where a network calls no module for a ReLU."""

import pytest
import torch
import torch.nn.functional as F
from captum import attr
from explained import classifier_of, images_for, maps_of, state_of, tiny_vit
from torch import Tensor, nn

from attnlab.attention import captum_rules
from attnlab.attention.captum_rules import allows_deep_lift, allows_guided_grad_cam, allows_rectifier_rules
from attnlab.errors import UserError

CLASSES = torch.tensor([0, 1, 4])
METHODS = {
    "guided-backprop": captum_rules.guided_backprop,
    "deconvolution": captum_rules.deconvolution,
    "guided-grad-cam": captum_rules.guided_grad_cam,
    "deep-lift": captum_rules.deep_lift,
}


class Modules(nn.Module):
    """Each ReLU a module of its own, none in place: what captum asks for."""

    attention_layer = "second"

    def __init__(self, kernel: int = 2, stride: int = 2, ceil_mode: bool = False) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.first, self.second = nn.Conv2d(3, 6, 3, bias=False), nn.Conv2d(6, 8, 3, 2)
        self.norm = nn.BatchNorm2d(6)
        self.norm.running_mean.normal_()
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))
        self.pool = nn.MaxPool2d(kernel, stride, ceil_mode=ceil_mode)
        self.hidden, self.last = nn.Linear(8, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relus[1](self.second(self.pool(self.relus[0](self.norm(self.first(x))))))
        return self.last(self.relus[2](self.hidden(x.mean((2, 3)))))


class Reused(Modules):
    def forward(self, x: Tensor) -> Tensor:
        relu = self.relus[0]
        relu.inplace = True
        x = relu(self.second(self.pool(relu(self.norm(self.first(x))))))
        return self.last(relu(self.hidden(x.mean((2, 3)))))


class Functions(Modules):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.first(x)), inplace=True), 2)
        x = torch.relu_(self.second(x))
        return self.last(self.hidden(x.mean((2, 3))).relu())


def bare(name, classifier, image, class_):
    if name == "guided-backprop":
        return attr.GuidedBackprop(classifier).attribute(image, target=class_)
    if name == "deconvolution":
        return attr.Deconvolution(classifier).attribute(image, target=class_)
    if name == "guided-grad-cam":
        method = attr.GuidedGradCam(classifier, classifier.network.second)
        return method.attribute(image, target=class_, interpolate_mode="bilinear")
    return attr.DeepLift(classifier).attribute(image, baselines=0.0, target=class_)


@pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting", "ignore:\\s*Setting")
@pytest.mark.parametrize("kind", [Modules, Reused, Functions])
@pytest.mark.parametrize("name", METHODS)
def test_maps_equal_captum_on_the_network_whose_relus_are_modules(name, kind):
    classifier, plain = classifier_of(kind(), (20, 20)), classifier_of(Modules(), (20, 20))
    images = images_for(classifier)
    before = state_of(classifier)
    maps = maps_of(METHODS[name], classifier, images, CLASSES, batch_size=2)
    assert state_of(classifier) == before
    for image, class_, map_ in zip(images, CLASSES.tolist(), maps, strict=True):
        expected = bare(name, plain, image[None], class_).sum(1)[0].detach()
        assert expected.abs().max() > 0
        torch.testing.assert_close(map_, expected)


class Rectify(torch.autograd.Function):
    """ReLU6 by the rule's own words: the gradient passes where the activation did and where it is positive."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(0, 6)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient.clamp(min=0) * ((x > 0) & (x < 6))


def test_guided_backprop_counts_relu6_as_a_relu():
    def network():
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU6(inplace=True), nn.Conv2d(6, 4, 3), nn.ReLU6(), nn.Flatten())

    classifier, ruled = (classifier_of(network(), (6, 6)) for _ in range(2))
    images = 20 * images_for(classifier) - 4
    assert (classifier.network[0](classifier.normalise(images)) > 6).any()
    images.requires_grad_()
    x = ruled.network[2](Rectify.apply(ruled.network[0](ruled.normalise(images))))
    score = Rectify.apply(x).flatten(1).gather(1, CLASSES[:, None]).sum()
    (expected,) = torch.autograd.grad(score, images)
    torch.testing.assert_close(maps_of(captum_rules.guided_backprop, classifier, images, CLASSES), expected.sum(1))


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_deep_lift_sums_to_the_difference_of_the_logits_where_pools_overlap(ceil_mode):
    classifier = classifier_of(Modules(3, 2, ceil_mode), (20, 20))
    images = images_for(classifier)
    allows_deep_lift(classifier)
    maps = maps_of(captum_rules.deep_lift, classifier, images, CLASSES)
    with torch.no_grad():
        difference = (classifier(images) - classifier(torch.zeros_like(images))).gather(1, CLASSES[:, None])[:, 0]
    torch.testing.assert_close(maps.sum((1, 2)), difference)


def test_deep_lift_of_one_neuron_by_hand():
    """Of y = relu(2 a - b - 1) + relu(b), the black image 0: y = 1 where a = 1, b = 0; both terms' rules are 1 / 2."""
    network = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2, bias=False))
    network[0].weight.data = torch.tensor([[2.0, -1.0], [0.0, 1.0]])[..., None, None]
    network[0].bias.data = torch.tensor([-1.0, 0.0])
    network[3].weight.data = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    network.input_size, network.mean, network.std = (1, 1), (0.0, 0.0), (1.0, 1.0)
    from attnlab.models import Classifier

    classifier = Classifier(network)
    image = torch.tensor([1.0, 0.5]).view(1, 2, 1, 1)
    # first neuron: from -1 to 0.5, output 0 to 0.5: a third; a gets 2 / 3, b -0.5 / 3; the second gives b its 0.5
    map_ = maps_of(captum_rules.deep_lift, classifier, image, torch.tensor([0]), seeds=[0])
    torch.testing.assert_close(map_.flatten(), torch.tensor([2 / 3 - 0.5 / 3 + 0.5]))


@pytest.mark.parametrize("name", METHODS)
def test_map_of_an_image_does_not_depend_on_its_batch(name):
    classifier = classifier_of(Modules(3, 2), (20, 20))
    images = images_for(classifier)
    together = maps_of(METHODS[name], classifier, images, CLASSES, batch_size=64)
    alone = maps_of(METHODS[name], classifier, images[2:], CLASSES[2:], batch_size=1, seeds=[1])
    torch.testing.assert_close(together[2], alone[0])


@pytest.mark.parametrize("name", METHODS)
def test_method_that_raises_leaves_the_model_as_it_was(name, monkeypatch):
    classifier = classifier_of(Reused(), (20, 20))
    images = images_for(classifier)
    maps_of(METHODS[name], classifier, images, CLASSES)
    before, forward, calls = state_of(classifier), classifier.forward, []

    def fail_at_the_second(pixels):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no")
        return forward(pixels)

    with monkeypatch.context() as patch:
        patch.setattr(classifier, "forward", fail_at_the_second)
        with pytest.raises(RuntimeError, match="no"):
            maps_of(METHODS[name], classifier, images, CLASSES, batch_size=1)
    assert state_of(classifier) == before


def test_networks_whose_activations_have_the_rules_are_allowed(resnet8):
    allows_rectifier_rules(resnet8)
    allows_guided_grad_cam(resnet8)
    allows_deep_lift(resnet8)


def gated():
    torch.manual_seed(1)

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.gate, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 4), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = F.silu(self.first(x))
            return self.last((x * self.gate(x.mean((2, 3))).sigmoid()[..., None, None]).mean((2, 3)))

    return classifier_of(Gated(), (8, 8))


@pytest.mark.parametrize("build", [gated, tiny_vit])
def test_networks_with_parts_that_have_no_rule_are_refused(build):
    classifier = build()
    with pytest.raises(UserError, match=r"attributions sum to .* where the logits differ by .*integrated-gradients"):
        allows_deep_lift(classifier)
    with pytest.raises(UserError, match=r"ReLUs alone .* got (silu \(1\)|gelu \(2\)); try"):
        allows_rectifier_rules(classifier)


def test_a_network_without_relus_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    with pytest.raises(UserError, match="got one without any"):
        allows_rectifier_rules(classifier_of(network, (8, 8)))


def test_a_clamp_below_zero_is_no_relu():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardtanh(-1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    with pytest.raises(UserError, match=r"got hardtanh \(1\); try"):
        allows_rectifier_rules(classifier_of(network, (8, 8)))


def test_a_network_that_uses_an_overwritten_input_again_is_refused():
    class Again(Modules):
        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last(self.hidden(self.second(torch.relu_(x) + x).mean((2, 3))))

    with pytest.raises(UserError, match="without inplace=True"):
        allows_rectifier_rules(classifier_of(Again(), (20, 20)))


def test_guided_grad_cam_needs_an_attention_layer():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), nn.ReLU())
    with pytest.raises(UserError, match="--layer"):
        allows_guided_grad_cam(classifier_of(network, (8, 8)))
