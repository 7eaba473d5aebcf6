"""FAB: its projection against scipy, its way against the authors' code, and what must hold for every image."""

import numpy as np
import pytest
import torch
from pyautoattack.fab_pt import FABAttack_PT
from scipy import optimize

from attnlab.attacks.fab import OVERSHOOT, fab, nearest_adversarial, ways_to_hyperplanes
from attnlab.attacks.norms import NORMS
from attnlab.models import Classifier

THEIRS = {"linf": "Linf", "l2": "L2"}
every_norm = pytest.mark.parametrize("norm", NORMS)


@pytest.fixture
def batch_of_many():
    """Six images, from nearly black to the whole range, so that bounds are met."""
    images = torch.rand(6, 3, 19, 23, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return images * torch.linspace(0.1, 1, 6)[:, None, None, None]


def predictions(classifier, images):
    with torch.no_grad():
        return classifier(images).argmax(1)


def linf_by_programming(point, normal, offset):
    """Least t with |d| <= t, normal . d = -offset, point + d in [0, 1]; None where there is no such d."""
    count = len(point)
    rows = np.block([[np.eye(count), -np.ones((count, 1))], [-np.eye(count), -np.ones((count, 1))]])
    bounds = [*zip(-point, 1 - point, strict=True), (0, None)]
    found = optimize.linprog(
        np.r_[np.zeros(count), 1], rows, np.zeros(2 * count), np.r_[normal, 0][None], [-offset], bounds
    )
    return found.fun if found.success else None


def l2_by_programming(point, normal, offset):
    """Least |d| likewise, as a quadratic programme."""
    if -offset > np.maximum(-normal * point, normal * (1 - point)).sum():
        return None
    if -offset < np.minimum(-normal * point, normal * (1 - point)).sum():
        return None
    found = optimize.minimize(
        lambda d: d @ d,
        np.zeros_like(point),
        jac=lambda d: 2 * d,
        bounds=list(zip(-point, 1 - point, strict=True)),
        constraints={"type": "eq", "fun": lambda d: normal @ d + offset, "jac": lambda _d: normal},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return np.linalg.norm(found.x)


@pytest.mark.parametrize(("norm", "reference"), [("linf", linf_by_programming), ("l2", l2_by_programming)])
def test_the_way_to_a_hyperplane_is_as_short_as_scipy_finds_it(norm, reference):
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(40, 1, 2, 3, generator=generator, dtype=torch.float64)
    points[::3] = points[::3].round()  # pixels on their bounds
    normals = torch.randn(40, 1, 2, 3, generator=generator, dtype=torch.float64)
    normals[::4, 0, 0, 0] = 0
    offsets = torch.randn(40, generator=generator, dtype=torch.float64) * torch.tensor([0.0, 0.3, 1, 6]).repeat(10)
    ways = ways_to_hyperplanes([(points, offsets)], normals, NORMS[norm])[0]
    assert (points + ways).min() >= -1e-15
    assert (points + ways).max() <= 1 + 1e-15
    reached = 0
    for point, normal, offset, way in zip(points, normals, offsets.tolist(), ways, strict=True):
        shortest = reference(point.flatten().numpy(), normal.flatten().numpy(), offset)
        if shortest is None:  # as near as [0, 1] allows: every pixel at the end of its room
            direction = -np.sign(offset) * normal.sign()
            ends = torch.where(direction > 0, 1 - point, torch.where(direction < 0, -point, 0 * point))
            torch.testing.assert_close(way, ends)
            continue
        reached += 1
        assert float((normal * way).sum()) == pytest.approx(-offset, abs=1e-9)
        assert float(NORMS[norm].length(way[None])) == pytest.approx(shortest, abs=2e-6)
    assert 20 <= reached < 40, "the test needs planes within reach and beyond it"


@every_norm
def test_fab_equals_the_authors_code_step_by_step(small, batch_of_many, monkeypatch, norm):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # theirs computes in float32
    with torch.no_grad():
        small.network.last.weight.mul_(1e4)  # in L2 theirs passes over entries of a gradient below 1e-8
    images, labels = batch_of_many, predictions(small, batch_of_many)
    for rank in (1, 3):
        theirs = FABAttack_PT(small, norm=THEIRS[norm], n_iter=12, eps=0.1)
        theirs.target_class = rank + 1
        torch.set_default_dtype(torch.float64)
        try:
            expected = theirs.attack_single_run(images, labels, is_targeted=True)
        finally:
            torch.set_default_dtype(torch.float32)
        points, distances = nearest_adversarial(small, images, labels, norm=norm, target_rank=rank, steps=12)
        found = distances.isfinite()
        assert found.any()
        torch.testing.assert_close(torch.where(found[:, None, None, None], points, images), expected, rtol=0, atol=1e-9)


class Plane(torch.nn.Module):
    """Two logits whose difference is linear."""

    input_size = (4, 4)

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 4)
        with torch.no_grad():
            self.conv.weight[0] = 0
            self.conv.weight[1] = torch.linspace(0.5, 2, 16).view(1, 4, 4)
            self.conv.bias.copy_(torch.tensor([11.0, 0]))

    def forward(self, x):
        return self.conv(x).flatten(1)


@every_norm
def test_a_linear_boundary_is_found_where_it_lies_by_hand(norm):
    """From .5 everywhere the lead is 10 - 11; the plane is 1 / |w| of the dual norm away, 1.05 of it in one step."""
    classifier = Classifier(Plane(), layer="conv").double().eval()
    exact = {"linf": 1 / 20, "l2": 1 / float(np.linalg.norm(np.linspace(0.5, 2, 16)))}[norm]
    image, label = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64), torch.tensor([0])
    _, first = nearest_adversarial(classifier, image, label, norm=norm, steps=1)
    assert float(first) == pytest.approx(OVERSHOOT * exact)
    _, last = nearest_adversarial(classifier, image, label, norm=norm, steps=40)
    assert exact < float(last) < 1.01 * exact


# invariants


@every_norm
def test_more_steps_never_find_a_farther_point_and_each_is_misclassified_within_the_range(small, batch_of_many, norm):
    labels, before = predictions(small, batch_of_many), torch.full((6,), torch.inf, dtype=torch.float64)
    for steps in (1, 3, 9):
        points, distances = nearest_adversarial(small, batch_of_many, labels, norm=norm, steps=steps)
        found = distances.isfinite()
        assert (distances <= before).all()
        assert torch.equal(predictions(small, points) != labels, found)
        assert torch.equal(NORMS[norm].length(points - batch_of_many)[found], distances[found])
        assert points.min() >= 0
        assert points.max() <= 1
        before = distances
    assert found.any()


@every_norm
def test_a_found_image_leaves_the_batch_and_no_other_is_lost_by_it(small, batch_of_many, norm):
    labels = predictions(small, batch_of_many)
    _, distances = nearest_adversarial(small, batch_of_many, labels, norm=norm, steps=12)
    eps = float(distances.sort().values[2])
    sizes = []
    handle = small.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    adversarial = fab(small, batch_of_many, labels, eps, range(6), norm=norm, steps=12)
    handle.remove()
    broken = predictions(small, adversarial) != labels
    assert torch.equal(broken, distances <= eps)
    assert torch.equal(adversarial[~broken], batch_of_many[~broken])
    assert (NORMS[norm].length(adversarial - batch_of_many) <= eps).all()
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 2 * 12  # the pass over the images is the first step's
    assert 3 <= sizes[-1] < 6


@every_norm
def test_a_gradient_of_zeros_moves_nothing(norm):
    points, zeros = torch.rand(3, 1, 4, 4), torch.zeros(3, 1, 4, 4)
    for offsets in (torch.zeros(3), torch.ones(3)):
        assert torch.equal(ways_to_hyperplanes([(points, offsets)], zeros, NORMS[norm])[0], zeros)
