"""AutoAttack for networks that answer at random: against the authors' code, and what the checks say of them."""

import pytest
import torch
import torch.nn.functional as F
from pyautoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack
from torch import nn
from twins import run_evaluation

from attnlab.attacks.apgd import apgd, dlr
from attnlab.attacks.autoattack import autoattack_rand
from attnlab.attacks.others import OTHER_ATTACKS, OtherAttack
from attnlab.attacks.output_checks import answers_at_random, check_outputs
from attnlab.attacks.sanity_checks import check_suites
from attnlab.attacks.seeding import uniform
from attnlab.models import Classifier, load_model
from attnlab.records import read_checks, read_evaluation

EPS = 0.03
SEEDS = range(8)


class Drawing(nn.Module):
    """A small network with noise on its images, from torch's stream or from one of its own."""

    def __init__(self, noise: float, own: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last = nn.Conv2d(3, 8, 3, stride=2), nn.Linear(8 * 25, 5)
        self.noise, self.input_size = noise, (11, 11)
        self.stream = torch.Generator() if own else None

    def forward(self, x):
        drawn = torch.randn(x.shape, generator=self.stream, dtype=x.dtype)
        return self.last(self.conv(x + self.noise * drawn).relu().flatten(1)) * 8


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(8, 3, 11, 11, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def drawing(noise: float, own: bool = False) -> Classifier:
    return Classifier(Drawing(noise, own), layer="conv").double().eval()


def predictions(classifier, images):
    with torch.no_grad():
        return classifier(images).argmax(1)


# ------------------------------------------------------------------ against the authors' code


class FromTheStart(APGDAttack):
    """With the start as a point like others at the first checkpoint, as in the paper.

    Their code compares the first step to a loss not yet known, 0, and condition 2 with nothing.
    """

    def check_oscillation(self, x, j, k, y5, k3=0.75):
        if j >= k:
            return super().check_oscillation(x, j, k, y5, k3)
        x = x.clone()
        x[-1] = self.at_start
        return torch.maximum(super().check_oscillation(x, j, k, y5, k3), (y5 == self.at_start).to(x))


@pytest.mark.parametrize(("loss", "objective"), [("ce", "cross-entropy"), ("dlr", "dlr")])
def test_apgd_of_several_passes_equals_the_authors_step_by_step(images, monkeypatch, loss, objective):
    """The network draws the same in both: it has a stream of its own, and no image leaves early."""
    classifier = drawing(0.05, own=True)
    stream = classifier.network.stream
    labels = predictions(classifier, images.clone()) if stream.manual_seed(9) else None
    stream.manual_seed(9)
    ours = apgd(classifier, images, labels, EPS / 3, SEEDS, objective=objective, steps=100, passes=4)
    start = uniform(SEEDS, images.shape).double()
    monkeypatch.setattr(torch, "rand", lambda _shape: start)
    oracle = FromTheStart(classifier, norm="Linf", eps=EPS / 3, n_iter=100, eot_iter=4, loss=loss)
    oracle.init_hyperparam(images)
    torch.set_default_dtype(torch.float64)
    try:
        stream.manual_seed(9)
        point = (images + EPS / 3 * oracle.normalize(2 * start - 1)).clamp(0, 1)
        *_, logits = [classifier(each).detach() for each in (images, *[point] * 4)]
        oracle.at_start = dlr(logits, labels) if loss == "dlr" else F.cross_entropy(logits, labels, reduction="none")
        stream.manual_seed(9)
        predictions(classifier, images)  # which finds those that are right, in their `perturb`
        _, stands, _, found = oracle.attack_single_run(images, labels)
    finally:
        torch.set_default_dtype(torch.float32)
    assert 1 < stands.sum() < 8, "the test needs a budget at which some images hold"
    expected = torch.where(stands.bool()[:, None, None, None], images, found)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9)


def test_dlr_equals_the_authors(images):
    logits, labels = torch.randn(50, 5, generator=torch.Generator().manual_seed(1)), torch.arange(50) % 5
    torch.testing.assert_close(dlr(logits, labels), APGDAttack.dlr_loss(None, logits, labels))


def test_the_suite_breaks_as_much_as_the_authors_does():
    """The share of passes that are wrong at what either is left with: both draw other numbers.

    Of 64 images, five seeds of either: .49 to .53 by ours, .46 to .52 by theirs, .11 of the clean.
    """
    images = torch.rand(64, 3, 11, 11, generator=torch.Generator().manual_seed(3))
    classifier, wrong, eps = drawing(0.05).float(), [], EPS / 2
    with torch.random.fork_rng():
        torch.manual_seed(1)
        labels = torch.stack([predictions(classifier, images) for _ in range(50)]).mode(0).values
        suite = AutoAttack(classifier, norm="Linf", eps=eps, version="rand", device="cpu")
        suite.apgd.n_iter, suite.apgd.eot_iter = 20, 5
        theirs = suite.run_standard_evaluation(images, labels, batch_size=64)[0]
        ours = autoattack_rand(classifier, images, labels, eps, range(64), steps=20, passes=5)
        for adversarial in (ours, theirs, images):
            passes = [(predictions(classifier, adversarial) != labels).double().mean() for _ in range(200)]
            wrong.append(torch.stack(passes).mean().item())
    assert wrong[2] < 0.2
    assert 0.35 < wrong[1] < 0.65, "the test needs a budget at which some images hold"
    assert wrong[0] == pytest.approx(wrong[1], abs=0.1)


# ------------------------------------------------------------------ invariants


def test_of_a_network_that_does_not_draw_as_many_are_broken_as_by_one_pass(images):
    classifier = drawing(0.0)
    labels = predictions(classifier, images)
    for objective in ("cross-entropy", "dlr"):
        one, two = (
            apgd(classifier, images, labels, EPS / 2, SEEDS, objective=objective, steps=15, passes=passes)
            for passes in (1, 2)
        )
        broken = predictions(classifier, one) != labels
        assert torch.equal(predictions(classifier, two) != labels, broken)
        assert 0 < broken.sum() < 8
        assert torch.equal(two[~broken], images[~broken])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_same_batch_comes_out_the_same_whatever_was_drawn_before(images, norm):
    classifier, eps = drawing(0.05), {"linf": EPS, "l2": 0.3}[norm]
    labels = predictions(drawing(0.0), images)
    made = []
    with torch.random.fork_rng():
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.random.get_rng_state()
            made.append(autoattack_rand(classifier, images, labels, eps, SEEDS, steps=4, passes=3, norm=norm))
            assert torch.equal(torch.random.get_rng_state(), before)
        other = autoattack_rand(classifier, images, labels, eps, range(8, 16), steps=4, passes=3, norm=norm)
    assert torch.equal(*made)
    assert not torch.equal(other, made[0])
    moved = made[0] - images
    length = moved.abs().amax() if norm == "linf" else moved.flatten(1).norm(dim=1).amax()
    assert 0 < length <= eps + 1e-9
    assert made[0].min() >= 0
    assert made[0].max() <= 1


def test_what_the_suite_costs(images):
    classifier, sizes = drawing(0.0), []
    handle = classifier.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    labels = predictions(classifier, images)
    sizes.clear()
    autoattack_rand(classifier, images, labels, 0.0, SEEDS, steps=3, passes=5)
    handle.remove()
    assert sizes == [8] * 2 * (1 + 1 + 5 * (3 + 1) + 1)
    with pytest.raises(ValueError, match="at least 3 classes for dlr, got 2"):
        apgd(two_classes(), images[:1], torch.tensor([0]), 0.1, [0], objective="dlr")
    assert autoattack_rand(two_classes(), images, labels % 2, 0.1, SEEDS, steps=2, passes=2).shape == images.shape


def two_classes() -> Classifier:
    network = Drawing(0.0)
    network.last = nn.Linear(8 * 25, 2)
    return Classifier(network, layer="conv").double().eval()


# ------------------------------------------------------------------ checks


def test_the_checks_advise_the_suite_for_its_networks(images):
    labels = torch.zeros(8, dtype=torch.long)
    (found,) = check_outputs(drawing(0.05), images, labels)
    assert "autoattack-rand and not autoattack" in found
    assert answers_at_random(drawing(0.05), images)
    assert not answers_at_random(drawing(0.0), images)
    attacks = {name: OtherAttack(name, EPS) for name in OTHER_ATTACKS}
    (sign,) = check_suites(attacks, at_random=True)
    assert sign.startswith("apgd-ce, apgd-t, fab-t, square, autoattack counts on equal answers")
    assert sign.endswith("autoattack-rand averages over the draws")
    (sign,) = check_suites(attacks, at_random=False)
    assert sign == "autoattack-rand is for models that draw, and this one does not: autoattack is stronger on it"
    del attacks["autoattack-rand"]
    assert check_suites(attacks, at_random=False) == []


class Noisy(nn.Module):
    """ResNet8 with noise on its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.input_size = load_model("resnet8").network, (64, 64)

    def forward(self, x):
        logits = self.network((x - 0.5) / 0.25)
        return logits + 0.1 * torch.randn_like(logits)


def test_an_evaluation_of_a_network_that_draws_is_told_which_suite(tmp_path, monkeypatch):
    quick = OTHER_ATTACKS["autoattack-rand"]

    def few(*given, **options):
        return quick.run(*given, steps=2, passes=2, **options)

    monkeypatch.setitem(OTHER_ATTACKS, "autoattack-rand", quick._replace(run=few))
    attacks = {name: OtherAttack(name, 2 / 255) for name in ("apgd-ce", "autoattack-rand")}
    classifier = Classifier(Noisy(), layer="network.stage3").eval()
    run_evaluation({"noisy": classifier}, tmp_path / "r", {"attacks": attacks, "check": True}, positions=range(4))
    found = [text for _, text in read_checks(tmp_path / "r")]
    assert any(text.startswith("apgd-ce counts on equal answers") for text in found)
    assert any("a random model needs attacks that average" in text for text in found)
    records = read_evaluation(tmp_path / "r")
    assert set(records["attack"]) == {"apgd-ce", "autoattack-rand"}
