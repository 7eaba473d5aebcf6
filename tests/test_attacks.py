"""The attack loop against torchattacks, and what must hold for every budget."""

from dataclasses import replace

import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.attacks import ATTACKS
from attnlab.attacks.objectives import OBJECTIVES
from attnlab.attacks.parse import parse_eps
from attnlab.attacks.pgd import Attack, clean_pass, perturb
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model


@pytest.mark.parametrize("eps", [1 / 255, 8 / 255, 0.3])
def test_fgsm_equals_torchattacks_to_the_bit(resnet8, scenes_batch, eps):
    expected = torchattacks.FGSM(resnet8, eps=eps)(*scenes_batch)
    assert torch.equal(perturb(resnet8, *scenes_batch, replace(ATTACKS["fgsm"], eps=eps)), expected)


def test_iterated_attack_equals_torchattacks_bim_to_the_bit(resnet8, scenes_batch):
    expected = torchattacks.BIM(resnet8, eps=8 / 255, alpha=2 / 255, steps=4)(*scenes_batch)
    ours = perturb(resnet8, *scenes_batch, Attack(eps=8 / 255, step_size=2 / 255, steps=4))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    assert (ours != expected).float().mean() < 1e-3  # BIM adds its bounds in another order


def test_stepll_is_equation_4(resnet8, scenes_batch):
    images, labels = scenes_batch
    images = images.clone().requires_grad_()
    logits = resnet8(images)
    least = logits.detach().argmin(1)
    loss = torch.nn.functional.cross_entropy(logits, least, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    expected = (images - 0.05 * gradient.sign()).clamp(0, 1).detach()
    assert torch.equal(perturb(resnet8, images, labels, replace(ATTACKS["stepll"], eps=0.05)), expected)


def test_label_smoothing_reaches_the_objective():
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    log_p = logits.log_softmax(1)[0]
    expected = -(0.9 * log_p[2] + 0.1 * log_p.mean())
    assert OBJECTIVES["least-likely"].value(logits, torch.tensor([2]), 0.1)[0] == pytest.approx(-expected.item())


@settings(max_examples=15, deadline=None)
@given(eps=st.floats(0, 1), steps=st.integers(1, 3), name=st.sampled_from(sorted(ATTACKS)))
def test_attack_stays_in_ball_and_pixel_range(resnet8, scenes_batch, eps, steps, name):
    images, labels = (part[:2] for part in scenes_batch)
    adversarial = perturb(resnet8, images, labels, replace(ATTACKS[name], eps=eps, steps=steps))
    assert (adversarial - images).abs().max() <= eps + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


def test_a_clean_pass_made_before_changes_nothing(resnet8, scenes_batch):
    images, labels = scenes_batch
    attack = ATTACKS["stepll"]
    watched = images.clone().requires_grad_()
    clean = clean_pass(resnet8(watched), watched, labels, attack)
    assert torch.equal(perturb(resnet8, images, labels, attack, clean=clean), perturb(resnet8, images, labels, attack))


def test_a_linear_model_is_driven_to_its_optimum():
    class Linear(torch.nn.Module):
        input_size = (4, 4)

        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 2, 4)

        def forward(self, x):
            return self.conv(x).flatten(1)

    torch.manual_seed(0)
    network = Linear()
    classifier = Classifier(network, layer="conv")
    images, labels = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    away = (network.conv.weight[1] - network.conv.weight[0]).sign()
    adversarial = perturb(classifier, images, labels, Attack(eps=0.2))
    assert torch.equal(adversarial, images + 0.2 * away.detach())


def test_a_model_that_normalises_by_itself_and_one_that_does_not_give_the_same(scenes_batch):
    class Normalising(torch.nn.Module):
        input_size = (64, 64)

        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network((x - torch.tensor(0.5)) / torch.tensor(0.25))

    wrapped = load_model("resnet8")
    by_itself = Classifier(Normalising(load_model("resnet8").network)).eval()
    assert by_itself.attention_layer == "network.stage3"
    attack = replace(ATTACKS["fgsm"], eps=8 / 255)
    assert torch.equal(perturb(wrapped, *scenes_batch, attack), perturb(by_itself, *scenes_batch, attack))


def test_state_is_given_back_also_when_the_model_raises(scenes_batch):
    classifier = load_model("resnet8").train()
    perturb(classifier, *scenes_batch, ATTACKS["fgsm"])
    with pytest.raises(RuntimeError):
        perturb(classifier, torch.rand(1, 1, 64, 64, 2), torch.tensor([0]), ATTACKS["fgsm"])
    assert all(module.training for module in classifier.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in classifier.parameters())


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), (" 0.3 ", 0.3), ("0", 0.0), ("1", 1.0)])
def test_eps_is_a_number_or_a_fraction(text, value):
    assert parse_eps(text) == value


@pytest.mark.parametrize("text", ["eight", "8/0", "8/255/2", "", "nan", "-0.1", "256"])
def test_eps_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="expected eps"):
        parse_eps(text)


def test_eps_in_grey_levels_is_refused_with_a_hint():
    with pytest.raises(UserError, match="did you mean 8/255"):
        parse_eps("8")


def test_settings_out_of_range_are_refused():
    with pytest.raises(UserError, match="steps of at least 1, got 0"):
        Attack(steps=0)
    with pytest.raises(UserError, match="objective"):
        Attack(objective="crossentropy")
    with pytest.raises(UserError, match="label smoothing"):
        Attack(label_smoothing=1.0)
