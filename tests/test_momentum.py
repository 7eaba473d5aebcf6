"""Attacks with momentum: against torchattacks, by hand, and taken up on their way."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
import torchattacks
from common import error_of

from attnlab.attacks import ATTACKS, RULES, Attack, Rule
from attnlab.attacks.balls import sign
from attnlab.attacks.context import attack_context
from attnlab.attacks.pgd import perturb, pgd_steps
from attnlab.attacks.rules import ahead, momentum


@pytest.mark.parametrize(("name", "oracle"), [("mi-fgsm", torchattacks.MIFGSM), ("ni-fgsm", torchattacks.NIFGSM)])
def test_attacks_with_momentum_equal_torchattacks(resnet8, scenes_batch, name, oracle):
    images, labels = scenes_batch[0][:4].double(), scenes_batch[1][:4]
    classifier = copy.deepcopy(resnet8).double()
    expected = oracle(classifier, eps=8 / 255, alpha=1 / 255, steps=10)(images, labels)
    attack = replace(ATTACKS[name], eps=8 / 255, step_size=1 / 255)
    torch.testing.assert_close(perturb(classifier, images, labels, attack), expected, rtol=0, atol=1e-12)
    without = perturb(classifier, images, labels, replace(attack, rule="sign"))
    assert (without - expected).abs().max() > 1 / 255, "momentum leads elsewhere"


@pytest.mark.parametrize("look", [None, partial(ahead, decay=0.0)])
def test_momentum_that_keeps_nothing_is_the_plain_attack_to_the_bit(resnet8, scenes_batch, monkeypatch, look):
    monkeypatch.setitem(RULES, "forgetful", Rule(partial(momentum, decay=0.0), look))
    attack = Attack(eps=8 / 255, step_size=2 / 255, steps=4)
    plain = perturb(resnet8, *scenes_batch, attack)
    assert torch.equal(perturb(resnet8, *scenes_batch, replace(attack, rule="forgetful")), plain)


def test_momentum_by_hand():
    gradients = torch.tensor([[3.0, -1.0], [0.0, 0.0], [-1.0, -2.0]]).view(3, 1, 1, 2)
    before = torch.tensor([[-2.0, 1.0], [1.0, -0.5], [0.5, 2.0]]).view(3, 1, 1, 2)
    direction, state = momentum(gradients, (before,), sign)
    assert state[0].flatten(1).tolist() == [[-0.5, 0.5], [1.0, -0.5], pytest.approx([0.5 - 2 / 3, 2 - 4 / 3])]
    assert direction.flatten(1).tolist() == [[-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]]


def test_an_image_without_a_gradient_stays_where_it_is_under_momentum():
    direction, state = momentum(torch.zeros(1, 1, 2, 2), (), sign)
    assert not direction.any()
    assert torch.equal(ahead(torch.ones(1, 1, 2, 2), state, 0.1), torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("rule", RULES)
def test_an_attack_that_is_left_and_taken_up_on_its_way_goes_on_as_before(either, rule):
    images = torch.rand(4, 3, 19, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels, rows = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 3])
    attack = Attack(eps=0.05, step_size=0.01, steps=6, rule=rule)
    aim = attack_context(either, images, labels, attack)
    whole = list(pgd_steps(either, images, aim, attack))
    left = whole[2]
    state = tuple(part[rows] for part in left.state)
    rest = replace(attack, steps=3)
    *_, last = pgd_steps(either, left.images[rows], aim.take(rows), rest, state=state)
    torch.testing.assert_close(last.images, whole[-1].images[rows], rtol=0, atol=1e-12)


def test_an_unknown_step_rule_is_refused():
    assert error_of(Attack, "margin", 0.1, 10, None, False, 1, None, 0.0, "momentun").startswith(
        f"expected step rule to be one of {', '.join(RULES)}, got 'momentun'; did you mean 'momentum'?"
    )
