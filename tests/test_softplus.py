"""Maps of ReLU networks whose gradient vanishes, and softplus in their place (Dombrowski et al. 2019)."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.attacks import ATTACKS, DISTANCES
from attnlab.attacks.pgd import perturb
from attnlab.attacks.smoothing import softplus_for_relu
from attnlab.attention import METHODS
from attnlab.attention.gradcam import logits_and_maps
from attnlab.models import Classifier

EXPLAIN = replace(ATTACKS["explain"], eps=0.05, steps=4, step_size=0.02)


def predictions(classifier: Classifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier(images).argmax(1)


class Rectified(nn.Module):
    """ReLUs and linear layers alone: the gradient by the pixels is piecewise constant."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.input_size = (8, 8)
        self.first, self.second, self.last = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.second(torch.relu_(self.first(images))), inplace=True)
        return self.last(hidden.mean((2, 3)))


@pytest.fixture
def rectified() -> Classifier:
    return Classifier(Rectified()).double().eval()


@pytest.mark.parametrize("method", ["saliency", "input-x-gradient"])
def test_maps_of_pixels_to_be_differentiated_are_captums_and_have_the_gradient_of_finite_differences(rectified, method):
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(3, 1, 8, 8, generator=draw, dtype=torch.float64)
    way = torch.randn(images.shape, generator=draw, dtype=torch.float64)
    classes, maps_of = torch.tensor([0, 1, 2]), METHODS[method].maps

    def maps(images: Tensor, *, create_graph: bool) -> Tensor:
        return logits_and_maps(rectified, images, classes, create_graph=create_graph, method=maps_of)[1]

    torch.testing.assert_close(maps(images.requires_grad_(), create_graph=True), maps(images, create_graph=False))
    with softplus_for_relu(5.0):
        (gradient,) = torch.autograd.grad(maps(images, create_graph=True).sum(), images)
        after, before = (maps(images + step * way, create_graph=False).sum() for step in (1e-6, -1e-6))
    assert (gradient * way).sum().item() == pytest.approx(((after - before) / 2e-6).item(), rel=1e-5)


def test_softplus_gives_a_gradient_to_maps_of_relus_which_have_none(rectified):
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(4, 1, 8, 8, generator=draw, dtype=torch.float64).requires_grad_()
    classes = torch.tensor([0, 1, 2, 0])

    def slope(beta: float | None) -> Tensor:
        with softplus_for_relu(beta):
            _, maps = logits_and_maps(rectified, images, classes, create_graph=True, method=METHODS["saliency"].maps)
            (gradient,) = torch.autograd.grad(maps[:, 2, 2].sum(), images)
        return gradient.abs().flatten(1).amax(1)

    assert (slope(None) == 0).all()
    assert (slope(10.0) > 1e-4).all()
    assert (slope(None) == 0).all(), "the network is as it was"


def test_an_attack_with_softplus_moves_maps_further_and_keeps_the_true_networks_predictions(rectified):
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    classes = predictions(rectified, images)
    attack = replace(EXPLAIN, method="saliency", eps=0.1, step_size=0.02, steps=10)
    moved_by = []
    for softplus in (None, 5.0):
        found = perturb(rectified, images, classes, replace(attack, softplus=softplus), seeds=range(8))
        assert torch.equal(predictions(rectified, found), classes)
        maps = [logits_and_maps(rectified, x, classes, method=METHODS["saliency"].maps)[1] for x in (images, found)]
        moved_by.append(DISTANCES["top-k"](*maps).mean().item())
    assert moved_by[1] > moved_by[0] + 0.02


@pytest.mark.parametrize(
    "relu",
    [torch.relu, F.relu, Tensor.relu, Tensor.relu_, torch.relu_, nn.ReLU(), nn.ReLU(inplace=True)],
)
def test_softplus_stands_for_every_way_to_call_relu(relu):
    values = torch.linspace(-2, 8, 7)
    with softplus_for_relu(3.0):
        given = values.clone()
        found = relu(given)
    torch.testing.assert_close(found, ((3.0 * values).exp() + 1).log() / 3.0)
    in_place = getattr(relu, "inplace", getattr(relu, "__name__", "").endswith("_"))
    assert torch.equal(given, found) if in_place else torch.equal(given, values)


@pytest.mark.parametrize("relu6", [F.relu6, nn.ReLU6(), nn.ReLU6(inplace=True)])
def test_softplus_of_relu6_is_bounded_too(relu6):
    values = torch.linspace(-2, 8, 7)
    with softplus_for_relu(3.0):
        found = relu6(values.clone())
    torch.testing.assert_close(found, F.softplus(values, 3.0) - F.softplus(values - 6, 3.0))
