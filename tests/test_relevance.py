"""Layer-wise relevance propagation: captum's own, and the closed form that it has on ReLU networks."""

import pytest
import torch
import torch.nn.functional as F
from captum import attr
from explained import classifier_of, images_for, maps_of, state_of, tiny_vit
from torch import Tensor, nn

from attnlab.attention.relevance import allows_lrp, lrp
from attnlab.errors import UserError

CLASSES = torch.tensor([0, 1, 4])


class Chain(nn.Module):
    """Modules that captum has rules for, each once."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, 2), nn.Tanh()),
            nn.AdaptiveAvgPool2d(2),
        )
        self.last = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).flatten(1))


class Functions(nn.Module):
    """Sums, means, branches, pools and ReLUs as functions, some of them in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.second, self.third = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, 1, 1), nn.Conv2d(6, 6, 1)
        self.last = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.first(x), inplace=True), 3, 2, 1)
        y = self.second(x)
        y += x
        y = y.relu_()
        branches = torch.cat([self.third(y), F.avg_pool2d(y, 3, 1, 1)], 1).relu()
        return self.last(branches.mean((2, 3)))


@pytest.mark.filterwarnings("ignore:Input Tensor")
def test_lrp_equals_captum_on_normalised_images():
    classifier, plain = (classifier_of(Chain(), (16, 16)) for _ in range(2))
    images = images_for(classifier)
    before = state_of(classifier)
    allows_lrp(classifier)
    maps = maps_of(lrp, classifier, images, CLASSES, batch_size=2)
    assert state_of(classifier) == before
    for image, class_, map_ in zip(images, CLASSES.tolist(), maps, strict=True):
        expected = attr.LRP(plain.network).attribute(plain.normalise(image[None]), target=class_).sum(1)[0].detach()
        torch.testing.assert_close(map_, expected)
        assert expected.abs().max() > 0


@pytest.mark.parametrize("name", ["functions", "resnet8", "pooled"])
def test_lrp_of_a_relu_network_is_normalised_pixel_times_gradient(name, request):
    of_name = {"functions": lambda: classifier_of(Functions(), (16, 16))}
    classifier = of_name[name]() if name in of_name else request.getfixturevalue(name)
    images, classes = images_for(classifier), CLASSES
    before = state_of(classifier)
    allows_lrp(classifier)
    maps = maps_of(lrp, classifier, images, classes)
    assert state_of(classifier) == before
    normalised = classifier.normalise(images).requires_grad_()
    score = classifier.logits(normalised).gather(1, classes[:, None]).sum()
    expected = (normalised * torch.autograd.grad(score, normalised)[0]).sum(1).detach()
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_map_of_an_image_does_not_depend_on_its_batch():
    classifier = classifier_of(Functions(), (16, 16))
    images = images_for(classifier)
    together = maps_of(lrp, classifier, images, CLASSES, batch_size=64)
    torch.testing.assert_close(together[2:], maps_of(lrp, classifier, images[2:], CLASSES[2:], batch_size=1))


def test_lrp_that_raises_leaves_the_model_as_it_was(monkeypatch):
    classifier = classifier_of(Functions(), (16, 16))
    images = images_for(classifier)
    maps_of(lrp, classifier, images, CLASSES)
    before, logits, calls = state_of(classifier), classifier.logits, []

    def fail_at_the_third(normalised):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no")
        return logits(normalised)

    with monkeypatch.context() as patch:
        patch.setattr(classifier, "logits", fail_at_the_third)
        with pytest.raises(RuntimeError, match="no"):
            maps_of(lrp, classifier, images, CLASSES)
    assert len(calls) == 3
    assert state_of(classifier) == before


def test_what_has_no_rule_is_named():
    with pytest.raises(UserError, match=r"for lrp, got .*layer_norm \(5\).*multi_head_attention_forward \(2\).*; try"):
        allows_lrp(tiny_vit())


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (lambda self, x: self.last(self.first(x).relu().amax((2, 3))), r"amax \(1\)"),
        (lambda self, x: self.last((self.first(x).relu() * 2).mean((2, 3))), r"mul \(1\)"),
        (lambda self, x: self.last((self.first(x) + 1).mean((2, 3))), r"add \(1\)"),
        (
            lambda self, x: self.last(F.conv2d(x, self.first.weight).mean((2, 3))),
            r"conv2d outside a torch.nn.Conv2d \(1\)",
        ),
        (lambda self, x: self.last(self.first(x).mean((1, 2))), r"mean \(1\)"),
        (lambda self, x: self.last(self.same(self.same(self.first(x))).mean((2, 3))), "runs several times"),
    ],
)
def test_a_step_without_a_rule_is_refused(run, said):
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.same, self.last = nn.Conv2d(3, 14, 3), nn.Conv2d(14, 14, 1), nn.Linear(14, 5)

        def forward(self, x: Tensor) -> Tensor:
            return run(self, x)

    with pytest.raises(UserError, match=said):
        allows_lrp(classifier_of(Network(), (16, 16)))
