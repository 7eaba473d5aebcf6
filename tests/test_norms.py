"""L2 in place of L-infinity: balls and steps by hand, whole ways against torchattacks and the authors' APGD."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torchattacks
from common import error_of
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.square import SquareAttack

from attnlab.attacks import ATTACKS, Attack
from attnlab.attacks.apgd import apgd
from attnlab.attacks.context import start_of
from attnlab.attacks.norms import NORMS
from attnlab.attacks.others import OTHER_ATTACKS, OtherAttack
from attnlab.attacks.parse import parse_attack, parse_attacks, parse_eps
from attnlab.attacks.pgd import perturb
from attnlab.attacks.seeding import uniform
from attnlab.attacks.square import square
from attnlab.attacks.square_l2 import _pattern
from attnlab.pipelines.accuracy_records import eight_bit

EPS = 0.5
L2 = NORMS["l2"]


def lengths(perturbations):
    return perturbations.flatten(1).norm(dim=1)


# by hand


def test_points_go_back_to_the_l2_ball_along_their_line_and_then_into_the_range():
    centres = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.9, 0.5], [0.5, 0.5]]).view(4, 1, 1, 2)
    points = torch.tensor([[0.8, 0.9], [0.6, 0.5], [1.5, 0.5], [0.5, 0.5]]).view(4, 1, 1, 2)  # .5, .1, .6, 0 away
    expected = torch.tensor([[0.62, 0.66], [0.6, 0.5], [1.0, 0.5], [0.5, 0.5]]).view(4, 1, 1, 2)
    torch.testing.assert_close(L2.ball(centres, 0.2)(points.clone()), expected)
    assert torch.equal(L2.ball(centres, 0.0)(points.clone()), centres)


def test_the_steepest_direction_is_the_sign_or_the_gradient_in_length_1():
    gradients = torch.tensor([[3.0, -4], [0, 0]]).view(2, 1, 1, 2)
    assert NORMS["linf"].steepest(gradients).flatten().tolist() == [1, -1, 0, 0]
    torch.testing.assert_close(L2.steepest(gradients).flatten(), torch.tensor([0.6, -0.8, 0, 0]))


def test_starts_lie_on_the_sphere_and_point_everywhere_alike():
    starts = L2.start(uniform(range(400), (400, 1, 3, 4)), EPS)
    torch.testing.assert_close(lengths(starts), torch.full((400,), EPS))
    assert starts.mean(0).abs().max() < 5 * EPS / 12**0.5 / 400**0.5
    ends = torch.tensor([0.0, 1 - 2.0**-24]).view(1, 1, 1, 2)  # the draws there are
    assert L2.start(ends, 1.0).isfinite().all()


def test_a_step_in_l2_has_its_length(small, batch):
    images, labels = batch[0], batch[2]
    one = perturb(small, images, labels, Attack(eps=1.0, step_size=0.01, norm="l2"))
    torch.testing.assert_close(lengths(one - images), torch.full((4,), 0.01, dtype=torch.float64), rtol=0.02, atol=0)
    assert Attack(eps=3.0, steps=5, norm="l2").step_length == 1.5


# against independent references


def test_pgd_in_l2_equals_torchattacks(small, batch):
    images, labels = batch[0], batch[2]
    oracle = torchattacks.PGDL2(small, eps=EPS, alpha=0.2, steps=6, random_start=False, eps_for_division=0)
    attack = Attack(eps=EPS, steps=6, step_size=0.2, norm="l2")
    torch.testing.assert_close(perturb(small, images, labels, attack), oracle(images, labels), rtol=0, atol=1e-9)


@pytest.mark.parametrize("rank", [None, 2])
def test_apgd_in_l2_equals_the_authors_code_step_by_step(small, batch, monkeypatch, rank):
    images, eps = batch[0], 0.002  # at which none is broken: the two go on differently there
    with torch.no_grad():
        logits = small(images)
    labels = logits.argmax(1)
    start = L2.start(uniform(range(4), images.shape), 1.0).double()
    monkeypatch.setattr(torch, "randn", lambda _shape: start)
    of_kind = APGDAttack if rank is None else APGDAttack_targeted
    oracle = of_kind(small, norm="L2", eps=eps, n_iter=100)
    oracle.init_hyperparam(images)
    if rank is not None:
        oracle.y_target = logits.sort(dim=1)[1][:, -rank - 1]
    torch.set_default_dtype(torch.float64)
    try:
        best, stands, _, _ = oracle.attack_single_run(images, labels)
    finally:
        torch.set_default_dtype(torch.float32)
    assert stands.all()
    more = {} if rank is None else {"objective": "dlr-targeted", "target_rank": rank}
    ours = apgd(small, images, labels, eps, range(4), norm="l2", **more)
    torch.testing.assert_close(ours, best, rtol=0, atol=1e-7)  # theirs divides by norms plus 1e-12


class InclusiveSquare(SquareAttack):
    """With the paper's positions, {0, ..., w - h}; the authors' code never reaches the last row and column."""

    def random_int(self, low=0, high=1, shape=(1,)):
        return super().random_int(low, high + 1, shape)


@pytest.mark.parametrize(("index", "eps"), [(0, 0.05), (3, 1.0)])
def test_square_in_l2_equals_the_authors_code_query_by_query(resnet8, scenes_batch, index, eps):
    image, label = (part[index : index + 1].contiguous() for part in scenes_batch)
    oracle = InclusiveSquare(resnet8, norm="L2", eps=eps, n_queries=59, resc_schedule=False)
    oracle.init_hyperparam(image)
    torch.manual_seed(5)
    _, best = oracle.attack_single_run(image, label)
    ours = square(resnet8, image, label, eps, [5], queries=60, horizon=10_000, norm="l2")
    torch.testing.assert_close(ours, best, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [3, 8, 13])
def test_the_pattern_of_square_equals_the_authors(side, monkeypatch):
    oracle = SquareAttack(None, norm="L2", device="cpu")
    monkeypatch.setattr(torch, "rand", lambda _shape: torch.zeros(1))
    torch.testing.assert_close(_pattern(side).float(), oracle.eta(side))


# invariants


@pytest.mark.parametrize("name", ["fgsm", "iter-stepll", "pgd", "cw", "mi-fgsm", "explain", "keep-map", "pgd+a3"])
def test_every_attack_stays_in_the_l2_ball_and_the_range(small, batch, name):
    images, _, labels = batch
    attack = replace(parse_attack(name), eps=EPS, steps=min(4, parse_attack(name).steps), norm="l2")
    adversarial = perturb(small, images, labels, attack, seeds=[1, 2, 3, 4])
    assert (lengths(adversarial - images) <= EPS * (1 + 1e-9)).all()
    assert lengths(adversarial - images).max() > 0 or name == "explain"  # which may find no better point than the image
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    alone = [perturb(small, images[n, None], labels[n, None], attack, seeds=[n + 1]) for n in range(4)]
    torch.testing.assert_close(torch.cat(alone), adversarial, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t", "fab-t", "square", "autoattack"])
def test_every_stage_stays_in_the_l2_ball_and_the_range(small, batch, name):
    images = batch[0]
    with torch.no_grad():
        labels = small(images).argmax(1)
    more = {"queries": 8} if name in ("square", "autoattack") else {}
    more |= {"steps": 3} if name != "square" else {}
    run = partial(OTHER_ATTACKS[name].run, small, eps=6.0, norm="l2", **more)
    adversarial = run(images=images, labels=labels, seeds=[1, 2, 3, 4])
    assert (lengths(adversarial - images) <= 6 * (1 + 1e-9)).all()
    assert lengths(adversarial - images).max() > 0
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    alone = [run(images=images[n, None], labels=labels[n, None], seeds=[n + 1]) for n in range(4)]
    torch.testing.assert_close(torch.cat(alone), adversarial, rtol=0, atol=1e-9)


def test_starts_of_the_loop_in_l2_are_of_the_ball_and_the_range(batch):
    images = batch[0]
    starts = start_of(images, replace(ATTACKS["pgd"], eps=EPS, norm="l2"), range(4))
    assert (lengths(starts - images) <= EPS).all()
    assert starts.min() >= 0


@pytest.mark.parametrize("eps", [0.02, 0.5, 4])
def test_grey_levels_stay_in_the_l2_ball_and_use_most_of_it(eps):
    draw = torch.Generator().manual_seed(0)
    images = (255 * torch.rand(3, 3, 12, 12, generator=draw)).round() / 255
    adversarial = L2.ball(images, eps)(images + torch.randn(images.shape, generator=draw))
    away = lengths(eight_bit(adversarial, images, eps, "l2").float() / 255 - images)
    assert (away <= eps * (1 + 1e-5)).all()
    assert (away >= 0.7 * lengths(adversarial - images)).all()


# names and budgets


def test_budgets_in_l2_may_be_above_1_and_have_to_be_given():
    attacks = parse_attacks("clean,fgsm,pgd20,fab-t", "cifar10", eps="1.5", norm="l2")
    assert attacks["fgsm"] == Attack(eps=1.5, norm="l2")
    assert attacks["pgd20"] == Attack(eps=1.5, steps=20, random_start=True, norm="l2")
    assert attacks["fab-t"] == OtherAttack("fab-t", 1.5, norm="l2")
    assert parse_eps("3", norm="l2") == 3
    assert "expected eps of at least 0 in l2, got -1" in error_of(lambda: parse_eps("-1", norm="l2"))
    error = error_of(lambda: parse_attacks("pgd", "cifar10", norm="l2"))
    assert error == "expected --eps with --norm l2, such as 0.5: the data sets' own budgets are of linf"


def test_attacks_that_know_no_l2_are_refused():
    assert error_of(lambda: parse_attacks("ni-fgsm", "cifar10", eps=0.5, norm="l2")) == (
        "expected --norm linf with a step rule that looks ahead, nesterov, got l2"
    )


def test_a_run_in_l2_says_so(attnlab, tmp_path):
    words = ("--attacks", "clean,pgd2,apgd-ce", "--norm", "l2", "--limit", 4, "--workers", 0, "--out", "out")
    assert attnlab("evaluate", *words, "--eps", "1.5/0").error.startswith("expected eps as a number")
    assert "expected --eps with --norm l2" in attnlab("evaluate", *words).error
    answer = attnlab("evaluate", *words, "--eps", 2, "--device", "cpu")
    assert (answer.code, "L2 eps 2;" in answer.out) == (0, True), answer
    attacks = json.loads(Path("out/run.json").read_text())["options"]["attacks"]
    assert attacks["apgd-ce"] == {"method": "apgd-ce", "eps": 2, "stages": [], "norm": "l2"}
    assert attacks["pgd2"]["norm"] == "l2"
