"""Targeted attacks: what a target may be, and where they end."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from common import error_of
from twins import logits_of

from attnlab.attacks import ATTACKS, Attack
from attnlab.attacks.clean_pass import targets_of
from attnlab.attacks.objectives import KAPPA, margin
from attnlab.attacks.parse import parse_attack
from attnlab.attacks.pgd import perturb
from attnlab.attacks.targets import check_targetable, parse_target, shared_target
from attnlab.attacks.trajectory import attack_results
from attnlab.config import EvaluateConfig
from attnlab.interactive import attack as attack_tensors

EPS, STEP = 8 / 255, 2 / 255
PGD = Attack(eps=EPS, steps=5, step_size=STEP)


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(6, 3, 19, 23, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return images, torch.tensor([0, 1, 2, 3, 0, 1])


def by_hand(classifier, images, targets, descended):
    """PGD to a target in ten lines: steps down what the target is missed by."""
    point = images.clone()
    for _ in range(5):
        point.requires_grad_()
        missed = descended(classifier(point), targets).sum()
        (gradient,) = torch.autograd.grad(missed, point)
        moved = point.detach() - STEP * gradient.sign()
        point = torch.minimum(torch.maximum(moved, images - EPS), images + EPS).clamp(0, 1)
    return point


def lead_over(logits, targets):
    """max(max_{j != t} z_j - z_t, -kappa), as Carlini and Wagner write it."""
    others = torch.stack(
        [row[torch.arange(len(row)) != target].max() for row, target in zip(logits, targets, strict=True)]
    )
    return (others - logits[torch.arange(len(logits)), targets]).clamp(min=-KAPPA)


# ------------------------------------------------------------------ against independent references


@pytest.mark.parametrize(
    ("objective", "descended"),
    [("cross-entropy", lambda logits, targets: F.cross_entropy(logits, targets, reduction="none")),
     ("margin", lead_over)],
)  # fmt: skip
def test_a_targeted_attack_equals_ten_lines_of_torch(small, batch, objective, descended):
    images, labels = batch
    ours = perturb(small, images, labels, replace(PGD, objective=objective, target=2))
    expected = by_hand(small, images, torch.full_like(labels, 2), descended)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    assert not torch.equal(ours, perturb(small, images, labels, replace(PGD, objective=objective)))


@pytest.mark.parametrize("sigma", [None, 10.0])
def test_towards_the_least_likely_class_is_iter_stepll(small, batch, sigma):
    stepll = replace(ATTACKS["iter-stepll"], eps=EPS, steps=5, step_size=STEP, sigma=sigma)
    ours = perturb(small, *batch, replace(PGD, target="least-likely", sigma=sigma))
    assert torch.equal(ours, perturb(small, *batch, stepll))


def test_targets_are_ranked_over_all_classes_on_the_clean_image(small, batch):
    images, labels = batch
    order = logits_of(small, images).numpy().argsort(1)[:, ::-1]
    for target, place in (("likely:2", 1), ("likely:3", 2), ("least-likely", -1)):
        found = targets_of(replace(PGD, target=target), logits_of(small, images), labels)
        assert found.tolist() == order[:, place].tolist()
    fixed = targets_of(replace(PGD, target=3), logits_of(small, images), labels)
    assert fixed.tolist() == [3] * 6
    with pytest.raises(ValueError, match="at most likely:5, got likely:9"):
        targets_of(replace(PGD, target="likely:9"), logits_of(small, images), labels)


# ------------------------------------------------------------------ invariants


@pytest.mark.parametrize("name", ["pgd", "cw", "mi-fgsm", "ni-fgsm"])
def test_the_loss_to_the_target_falls_and_the_ball_is_kept(resnet8, scenes_batch, name):
    images, labels = scenes_batch
    attack = replace(ATTACKS[name], eps=EPS, steps=8, step_size=STEP, target="likely:3")
    targets = targets_of(attack, logits_of(resnet8, images), labels)
    moved = perturb(resnet8, images, labels, attack, seeds=range(16))
    before, after = (F.cross_entropy(logits_of(resnet8, x), targets, reduction="none") for x in (images, moved))
    assert (after < before).all()
    assert (moved - images).abs().max() <= EPS + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_of_several_starts_the_one_nearest_to_the_target_is_kept(small, batch):
    images, labels = batch
    attack = replace(PGD, random_start=True, steps=2, target=2)
    targets = torch.full_like(labels, 2)
    best = perturb(small, images, labels, replace(attack, restarts=3), seeds=range(6))
    one = attack_results(small, images, labels, attack, [2], logits_of(small, images), range(6))[2]
    three = attack_results(small, images, labels, replace(attack, restarts=3), [2], logits_of(small, images), range(6))[
        2
    ]
    behind = -margin(logits_of(small, best), targets)
    assert (behind <= one.leads + 1e-9).all()
    assert (behind < one.leads - 1e-9).any()
    won = three.predictions == targets  # a start that has reached its target is kept, and no other one is tried
    torch.testing.assert_close(three.leads[~won], behind[~won])


def test_an_image_leaves_the_attack_at_its_target_and_not_at_another_class(resnet8, scenes_batch):
    images, labels = scenes_batch
    attack = Attack(eps=EPS, steps=6, step_size=STEP, target=3)
    clean = logits_of(resnet8, images)
    labels = torch.where(clean.argmax(1) == 8, 9, labels)  # wrong from the start, which is no success
    stopped = attack_results(resnet8, images, labels, attack, [6], clean, range(16), stop=True)[6]
    whole = attack_results(resnet8, images, labels, attack, [6], clean, range(16))[6]
    assert torch.equal(stopped.steps, whole.steps)
    assert ((stopped.predictions == 3) == (stopped.steps >= 0)).all()
    assert (stopped.steps[clean.argmax(1) == 8] != 0).all()
    assert 3 < (stopped.steps > 0).sum() < 16
    for one in (1, 4):  # neither company nor batch
        alone = attack_results(resnet8, images[[one]], labels[[one]], attack, [6], clean[[one]], [one])[6]
        assert (alone.steps, alone.predictions) == (whole.steps[[one]], whole.predictions[[one]])


# ------------------------------------------------------------------ what a user writes


NAMED = ("zebra", "n01440764 tench, Tinca tinca", "7", "crane", "crane", "Eight")


@pytest.mark.parametrize(
    ("written", "expected"),
    [("zebra", 0), ("Tench", 1), ("1", 1), (1, 1), ("index:2", 2), ("name:7", 2), ("eight", 5),
     ("likely:2", "likely:2"), (" least-likely ", "least-likely")],
)  # fmt: skip
def test_a_target_is_a_class_or_a_rank(written, expected):
    assert parse_target(written, NAMED, 9) == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("7", "got 7, which is the index of one and the name of class 2 ('7'); write index:7 or name:7"),
        ("crane", "got 'crane', which may be index:3 ('crane') or index:4 ('crane')"),
        ("zebre", "got 'zebre'; did you mean 'zebra'?"),
        ("9", "expected --attack-target to be a class from 0 to 8, got 9"),
        ("index:-1", "from 0 to 8, got -1"),
        ("likely:1", "likely:1 is the clean image's prediction"),
        ("likely:10", "at most likely:9, the least likely class, got likely:10"),
        ("likely:two", "got 'likely:two'"),
        ("", "got ''"),
    ],
)
def test_what_is_no_class_or_may_be_two_is_refused(written, message):
    assert message in error_of(parse_target, written, NAMED, 9)


def test_names_need_names_and_models_must_agree_on_them():
    assert "neither data nor model name classes" in error_of(parse_target, "zebra", (), 3)
    assert shared_target("b", {"first": (["a", "b"], 2), "second": (["c", "b"], 2)}) == 1
    known = {"first": (["a", "b"], 2), "second": (["b", "a"], 2)}
    assert "got 1 of first, 0 of second; evaluate them apart" in error_of(shared_target, "b", known)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("autoattack", "run as published"), ("apgd-t", "run as published"), ("stepll", "aims at the least likely class"),
     ("iter-stepll3+a3", "aims at the least likely class"), ("explain5", "is on maps")],
)  # fmt: skip
def test_attacks_that_aim_otherwise_refuse_a_target(name, reason):
    message = error_of(lambda: EvaluateConfig.of(attacks=f"clean,pgd5+a3,{name}", attack_target="3"))
    assert message.startswith("expected --attack-target with attacks of fgsm, pgd, cw, mi-fgsm, ni-fgsm, di-fgsm")
    assert f"got {name}, which" in message
    assert reason in message
    check_targetable(["clean", "pgd5+a3", "cw", "mi-fgsm7", "fog"])
    for alone in ("clean", "fog", "clean,fog"):
        assert error_of(lambda alone=alone: EvaluateConfig.of(attacks=alone, attack_target="3")).endswith(
            f"got {alone.replace(',', ', ')}"
        )


def test_an_attack_from_python_refuses_a_target_that_it_cannot_have():
    for wrong in (
        {"target": -1},
        {"target": "likely:1"},
        {"target": "zebra"},
        {"objective": "least-likely", "target": 1},
    ):
        error_of(lambda wrong=wrong: Attack(**wrong))
    with pytest.raises(ValueError, match="a target with the objective cross-entropy, margin, got move-map"):
        replace(parse_attack("explain5"), target=1)


def test_tensors_are_attacked_towards_a_class(resnet8, scenes_batch):
    images, labels = (part[:4] for part in scenes_batch)
    ours = attack_tensors(resnet8, images, labels, "pgd5", eps=EPS, target=3)
    expected = perturb(resnet8, images, labels, replace(parse_attack("pgd5"), eps=EPS, target=3))
    assert torch.equal(ours, expected)
    with pytest.raises(ValueError, match="run as published"):
        attack_tensors(resnet8, images, labels, "square", target=3)
