"""APGD, FAB, Square and their suite: against torchattacks, and what must hold for every budget."""

from contextlib import contextmanager
from functools import partial

import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.attacks.apgd import apgd
from attnlab.attacks.autoattack import autoattack
from attnlab.attacks.fab import fab
from attnlab.attacks.objectives import cross_entropy
from attnlab.attacks.seeding import uniform
from attnlab.attacks.square import margin, square
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from benchmarks.autoattack import STAGES, compare

SEEDS = [7 * n + 2**62 for n in range(16)]

#: each attack with a budget that a test can afford
QUICK = {
    "apgd-ce": partial(apgd, steps=6),
    "apgd-t": partial(apgd, objective="dlr-targeted", target_rank=2, steps=6),
    "fab-t": partial(fab, target_rank=2, steps=6),
    "square": partial(square, queries=30),
    "autoattack": partial(autoattack, steps=2, queries=10),
}
every_attack = pytest.mark.parametrize("attack", QUICK.values(), ids=QUICK)


@contextmanager
def passes(classifier):
    """Sizes of the batches that go through the classifier."""
    sizes = []
    handle = classifier.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    try:
        yield sizes
    finally:
        handle.remove()


def predictions(classifier, images):
    with torch.no_grad():
        return classifier(images).argmax(1)


@pytest.fixture
def precise():
    """The built-in network in float64 throughout: in float32 a rounding turns a sign, and the sign the way after it."""
    torch.set_default_dtype(torch.float64)
    try:
        yield load_model("resnet8").place("cpu", "fp64")
    finally:
        torch.set_default_dtype(torch.float32)


class Linear(torch.nn.Module):
    """Logits of one convolution as large as the image: the first class against the second, the others far below."""

    input_size = (4, 4)

    def __init__(self, classes=4):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, classes, 4)
        weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[0, 0], self.conv.weight[1, 0] = weight, -weight
            self.conv.bias.copy_(torch.tensor([20.0, 0, -30, -40][:classes]))

    def forward(self, x):
        return self.conv(x).flatten(1)


@pytest.fixture(scope="module")
def cut(resnet8, scenes_batch):
    """The middle of sixteen scenes, whose passes take a quarter of the time, and their predictions."""
    images = scenes_batch[0][:, :, 16:48, 16:48].contiguous()
    return images, predictions(resnet8, images)


# against an independent reference


@pytest.mark.parametrize("index", [0, 3])
@pytest.mark.parametrize("rank", [None, 3])
def test_apgd_equals_torchattacks_step_by_step(precise, scenes_batch, monkeypatch, rank, index):
    image = scenes_batch[0][index : index + 1, :, 8:40, 8:40].double()  # as many steps take less time
    label, eps = predictions(precise, image), 0.2 / 255
    if rank is None:
        oracle, ours = torchattacks.APGD(precise, eps=eps, steps=100), apgd
    else:
        oracle = torchattacks.APGDT(precise, eps=eps, steps=100)
        oracle.target_class = rank + 1
        ours = partial(apgd, objective="dlr-targeted", target_rank=rank)
    monkeypatch.setattr(torch, "rand", lambda shape: uniform([5], shape).double())  # the same start
    best, stands, _, _ = oracle.attack_single_run(image, label)
    assert stands.item(), "the test needs an image that is not broken: the two go on differently there"
    torch.testing.assert_close(ours(precise, image, label, eps, [5]), best, rtol=0, atol=1e-9)


class InclusiveSquare(torchattacks.Square):
    """With the paper's positions, {0, ..., w - h}; the code it follows never reaches the last row and column."""

    def random_int(self, low=0, high=1, shape=(1,)):
        return super().random_int(low, high + 1, shape)


@pytest.mark.parametrize("eps", [0.5 / 255, 8 / 255])
@pytest.mark.parametrize("index", [0, 3])
def test_square_equals_torchattacks_query_by_query(resnet8, cut, eps, index):
    image, label = (part[index : index + 1] for part in cut)
    oracle = InclusiveSquare(resnet8, eps=eps, n_queries=149, resc_schedule=False)
    oracle.init_hyperparam(image)
    torch.manual_seed(5)
    queries, best = oracle.attack_single_run(image, label)
    with passes(resnet8) as sizes:
        ours = square(resnet8, image, label, eps, [5], queries=150, horizon=10_000)
    torch.testing.assert_close(ours, best, rtol=0, atol=1e-7)
    assert len(sizes) - 1 == queries.item()


def test_cascade_breaks_all_that_torchattacks_pgd_breaks(resnet8, cut):
    images, labels = (part[8:] for part in cut)
    eps = 1 / 255
    torch.manual_seed(0)
    by_pgd = torchattacks.PGD(resnet8, eps=eps, alpha=eps / 4, steps=10)(images, labels)
    broken_by_pgd = predictions(resnet8, by_pgd) != labels
    ours = autoattack(resnet8, images, labels, eps, SEEDS, steps=5, queries=20)
    broken = predictions(resnet8, ours) != labels
    assert 0 < broken_by_pgd.sum() <= broken.sum() < len(labels)
    assert torch.equal(ours[~broken], images[~broken])


@pytest.fixture(scope="module")
def ten_classes() -> Classifier:
    """Of random weights: pyautoattack needs ten classes."""
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 25, 10)
    network = torch.nn.Sequential(*layers)
    network.input_size = (11, 11)
    return Classifier(network, layer="0").eval()


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.02), ("l2", 0.3)])
def test_each_stage_breaks_what_the_authors_code_breaks(ten_classes, stage, norm, eps):
    """FAB-T draws nothing: image by image; the others draw other numbers: but for few images near the boundary."""
    images = torch.rand(12, 3, 11, 11, generator=torch.Generator().manual_seed(1))
    labels = predictions(ten_classes, images)
    ours, theirs, _seconds = compare(ten_classes, images, labels, eps, stage, norm)
    assert 0 < theirs.sum() < len(labels), "the test needs a budget at which some images hold"
    assert (ours != theirs).sum() <= (0 if stage == "fab-t" else 1)


@pytest.mark.parametrize("attack", ["cross-entropy", "dlr-targeted", "square"])
def test_a_linear_model_is_driven_to_the_optimum_of_its_margin(attack):
    network = Linear()
    classifier = Classifier(network, layer="conv").eval()
    images, labels = torch.full((3, 1, 4, 4), 0.5), torch.zeros(3, dtype=torch.long)
    images[2] = 0.95  # where the pixel range ends before the ball
    ours = partial(square, queries=400) if attack == "square" else partial(apgd, objective=attack, steps=20)
    optimum = (images - 0.2 * network.conv.weight[0].detach().sign()).clamp(0, 1)
    torch.testing.assert_close(ours(classifier, images, labels, 0.2, [1, 2, 3]), optimum)


# invariants


@every_attack
@settings(max_examples=5)
@given(eps=st.floats(0, 1))
def test_attack_stays_in_ball_and_pixel_range(resnet8, cut, attack, eps):
    images, labels = (part[:2] for part in cut)
    adversarial = attack(resnet8, images, labels, eps, SEEDS[:2])
    assert (adversarial - images).abs().max() <= eps + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert not adversarial.requires_grad


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("apgd-ce", 1 + 6 + 1),
        ("apgd-t", 1 + 6 + 1),
        ("fab-t", 6 * 2),
        ("square", 1 + 30),
        ("autoattack", 10 * (2 + 1 + 3) + 9 * (2 * 2 + 2) + (10 + 3)),
    ],
)
def test_an_unbroken_image_costs_the_budget_and_no_pass_more(resnet8, cut, name, expected):
    images, labels = (part[:3] for part in cut)
    with passes(resnet8) as sizes:
        QUICK[name](resnet8, images, labels, 0.0, SEEDS[:3])
    assert sizes == [3] * expected


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t", "fab-t", "square"])
def test_a_broken_image_is_not_attacked_further(resnet8, cut, name):
    images, labels = cut
    with passes(resnet8) as sizes:
        adversarial = QUICK[name](resnet8, images, labels, 3 / 255, SEEDS)
    broken = int((predictions(resnet8, adversarial) != labels).sum())
    assert 0 < broken < 16
    assert sizes == sorted(sizes, reverse=True)
    assert 16 - broken <= sizes[-1] < 16


@pytest.mark.parametrize("name", ["apgd-ce", "square"])
def test_an_unbroken_image_is_returned_at_the_best_point_of_its_way(resnet8, cut, name):
    images, labels = cut
    way = []
    handle = resnet8.register_forward_pre_hook(lambda _module, inputs: way.append(inputs[0].detach().clone()))
    adversarial = QUICK[name](resnet8, images, labels, 0.1 / 255, SEEDS)
    handle.remove()
    points = torch.stack(way[1:])  # without the clean ones, (passes, N, C, H, W)
    with torch.no_grad():
        logits = [resnet8(point) for point in points]
    value = margin if name == "square" else cross_entropy
    values = torch.stack([value(each, labels) for each in logits]) * (-1 if name == "square" else 1)
    best = values.argmax(0)
    assert torch.equal(adversarial, points[best, torch.arange(16)])
    assert (best < len(points) - 1).any(), "the test needs a way whose end is not its best point"


@pytest.mark.parametrize("name", QUICK)
def test_neither_batch_nor_order_nor_company_changes_an_image(small, name):
    images = torch.rand(6, 3, 19, 23, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images *= torch.linspace(0, 1, 6)[:, None, None, None]  # so that some are broken and some are not
    labels, eps, attack = predictions(small, images), 0.06, QUICK[name]
    together = attack(small, images, labels, eps, SEEDS[:6])
    alone = torch.cat([attack(small, images[n, None], labels[n, None], eps, [SEEDS[n]]) for n in range(6)])
    backwards = attack(small, images.flip(0), labels.flip(0), eps, SEEDS[:6][::-1]).flip(0)
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-9)
    torch.testing.assert_close(backwards, together, rtol=0, atol=1e-9)
    drawn = name != "fab-t"  # which starts at the image
    assert torch.equal(attack(small, images, labels, eps, SEEDS[6:12]), together) != drawn


@every_attack
def test_a_misclassified_image_is_returned_as_it_is(resnet8, cut, attack):
    images, labels = cut[0], cut[1].clone()
    labels[::2] = (labels[::2] + 1) % resnet8.classes
    adversarial = attack(resnet8, images, labels, 8 / 255, SEEDS)
    assert torch.equal(adversarial[::2], images[::2])
    assert not torch.equal(adversarial[1::2], images[1::2])


@every_attack
def test_state_is_given_back(cut, attack):
    classifier = load_model("resnet8").train()
    attack(classifier, *(part[:2] for part in cut), 8 / 255, SEEDS[:2])
    assert all(module.training for module in classifier.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in classifier.parameters())


def test_fewer_than_four_classes_are_refused_by_dlr_and_attacked_by_the_rest():
    classifier = Classifier(Linear(classes=3), layer="conv").eval()
    images, labels = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    with pytest.raises(UserError, match="expected at least 4 classes for dlr-targeted of rank 1, got 3"):
        apgd(classifier, images, labels, 0.1, [0], objective="dlr-targeted")
    with passes(classifier) as sizes:
        autoattack(classifier, images, labels, 0.0, [0], steps=5, queries=7)
    assert len(sizes) == (5 + 1 + 3) + 2 * (2 * 5 + 2) + (7 + 3)


def test_an_unknown_objective_is_refused_with_the_names(small):
    with pytest.raises(UserError, match="one of cross-entropy, dlr, dlr-targeted, got 'dlr-targetted'"):
        apgd(small, torch.rand(1, 3, 19, 23), torch.tensor([0]), 0.1, [0], objective="dlr-targetted")


def test_one_seed_per_image_is_asked_for(small):
    with pytest.raises(ValueError, match="zip"):
        apgd(small, torch.rand(2, 3, 19, 23), torch.tensor([0, 0]), 0.1, [0, 1, 2])
