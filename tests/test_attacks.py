"""The attack loop against torchattacks, and what must hold for every budget."""

from dataclasses import replace

import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.attacks import ATTACKS, OBJECTIVES, Attack
from attnlab.attacks.clean_pass import clean_gradient
from attnlab.attacks.context import attack_context, start_of
from attnlab.attacks.objectives import margin
from attnlab.attacks.pgd import perturb, pgd_steps
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


@pytest.mark.parametrize("steps", [1, 5])
def test_pgd_from_the_same_start_equals_torchattacks(resnet8, scenes_batch, steps):
    images, labels = scenes_batch
    attack = Attack(eps=8 / 255, step_size=2 / 255, steps=steps, random_start=True)
    torch.manual_seed(5)
    expected = torchattacks.PGD(resnet8, eps=8 / 255, alpha=2 / 255, steps=steps, random_start=True)(images, labels)
    torch.manual_seed(5)  # and so torchattacks' own start again
    start = (images + torch.empty_like(images).uniform_(-8 / 255, 8 / 255)).clamp(0, 1)
    *_, last = pgd_steps(resnet8, start, attack_context(resnet8, images, labels, attack), attack)
    torch.testing.assert_close(last.images, expected, rtol=0, atol=1e-6)
    assert not torch.equal(start, images)


#: objective -> (logits, clean logits, label) -> what is climbed, of one image, as published
PUBLISHED = {
    "cross-entropy": lambda z, _, y: z.logsumexp(0) - z[y],
    "least-likely": lambda z, clean, _: z[int(clean.argmin())] - z.logsumexp(0),
    "margin": lambda z, _, y: -torch.clamp(z[y] - max(z[j] for j in range(len(z)) if j != y) + 50, min=0),
    "divergence": lambda z, clean, _: torch.nn.functional.kl_div(z.log_softmax(0), clean.softmax(0), reduction="sum"),
}


@pytest.mark.parametrize(
    ("objective", "random_start"),  # at the image itself the divergence has no gradient
    [(name, start) for name in sorted(PUBLISHED) for start in (False, True) if start or name != "divergence"],
)
def test_every_objective_equals_the_published_formula_climbed_in_a_plain_loop(either, objective, random_start):
    """Image by image and step by step; projection as min and max of the ball's bounds."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 19, 23, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3])
    attack = Attack(objective, eps=0.1, steps=4, step_size=0.03, random_start=random_start)
    ours = perturb(either, images, labels, attack, seeds=[3, 1, 4, 1])
    starts = start_of(images, attack, [3, 1, 4, 1])
    for image, label, start, found in zip(images, labels.tolist(), starts, ours, strict=True):
        clean, point = either(image[None])[0].detach(), start
        for _ in range(4):
            point = point.detach().requires_grad_()
            PUBLISHED[objective](either(point[None])[0], clean, label).backward()
            point = point + 0.03 * point.grad.sign()
            point = torch.minimum(torch.maximum(point, image - 0.1), image + 0.1).clamp(0, 1).detach()
        torch.testing.assert_close(found, point, rtol=0, atol=1e-12)


def test_divergence_of_a_point_from_itself_is_0(either):
    images = torch.rand(2, 3, 19, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = either(images)
    value = OBJECTIVES["divergence"].value(logits, logits.softmax(1), 0.0)
    torch.testing.assert_close(value, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_margin_by_hand():
    logits = torch.tensor([[3.0, 1.0, -2.0], [3.0, 1.0, -2.0], [0.5, 0.5, -1.0]])
    assert margin(logits, torch.tensor([0, 1, 0])).tolist() == [2.0, -2.0, 0.0]


def test_cw_by_hand():
    """-relu(z_y - max z_j + 50): the margin climbed until it is 50 below the boundary, then flat."""
    logits = torch.tensor([[3.0, 1.0], [0.0, 49.0], [0.0, 51.0]], requires_grad=True)
    value = OBJECTIVES["margin"].value(logits, torch.tensor([0, 0, 0]), 0.0)
    assert value.tolist() == [-52.0, -1.0, 0.0]
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert gradient.tolist() == [[-1, 1], [-1, 1], [0, 0]]


def test_of_several_starts_each_image_keeps_the_one_of_lowest_margin(either):
    images = torch.rand(5, 3, 19, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels, seeds = torch.tensor([0, 1, 2, 3, 4]), [7, 8, 9, 10, 11]
    attack = Attack(eps=0.05, steps=2, random_start=True)
    best = perturb(either, images, labels, replace(attack, restarts=3), seeds=seeds)
    tried = []
    for restart in range(3):
        start = start_of(images, attack, seeds, restart)
        *_, last = pgd_steps(either, start, attack_context(either, images, labels, attack), attack)
        tried.append(last.images)
    margins = torch.stack([margin(either(points), labels) for points in tried])
    for place, chosen in enumerate(margins.argmin(0).tolist()):
        assert torch.equal(best[place], tried[chosen][place])
    assert len(set(margins.argmin(0).tolist())) > 1, "another start is best for another image"


def test_a_random_start_depends_on_the_images_seed_alone():
    images, attack = torch.rand(3, 3, 8, 8), ATTACKS["pgd"]
    together = start_of(images, attack, [5, 6, 7])
    assert torch.equal(start_of(images[[2, 0]], attack, [7, 5]), together[[2, 0]])
    assert torch.equal(start_of(images, attack, [5, 6, 7]), together)
    assert not torch.equal(start_of(images, attack, [5, 6, 7], restart=1), together)


@settings(max_examples=30)
@given(
    eps=st.floats(0, 1),
    steps=st.integers(1, 3),
    step_size=st.none() | st.floats(0, 1),
    name=st.sampled_from(sorted(ATTACKS)),
    sigma=st.none() | st.floats(0, 1000),
    restarts=st.integers(1, 2),
)
def test_attack_stays_in_ball_and_pixel_range(resnet8, scenes_batch, eps, steps, step_size, name, sigma, restarts):
    images, labels = (part[:2] for part in scenes_batch)
    images = torch.stack([images[0], images[1].round()])  # the second lies at the ends of the pixel range
    sigma = sigma if ATTACKS[name].deviates else None
    attack = replace(ATTACKS[name], eps=eps, steps=steps, step_size=step_size, sigma=sigma)
    if attack.random_start:
        attack = replace(attack, restarts=restarts)
    adversarial = perturb(resnet8, images, labels, attack)
    assert (adversarial - images).abs().max() <= eps + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


def test_a_clean_pass_made_before_changes_nothing(resnet8, scenes_batch):
    images, labels = scenes_batch
    attack = ATTACKS["stepll"]
    watched = images.clone().requires_grad_()
    clean = clean_gradient(resnet8(watched), watched, labels, attack)
    assert torch.equal(perturb(resnet8, images, labels, attack, clean=clean), perturb(resnet8, images, labels, attack))


class Linear(torch.nn.Module):
    """Two logits that are linear in the pixels."""

    input_size = (4, 4)

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 4)

    def forward(self, x):
        return self.conv(x).flatten(1)


def test_a_linear_model_is_driven_to_its_optimum():
    torch.manual_seed(0)
    network = Linear()
    classifier = Classifier(network, layer="conv")
    images, labels = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    away = (network.conv.weight[1] - network.conv.weight[0]).sign()
    adversarial = perturb(classifier, images, labels, Attack(eps=0.2))
    assert torch.equal(adversarial, images + 0.2 * away.detach())


@pytest.mark.parametrize("objective", ["cross-entropy", "margin"])
@pytest.mark.parametrize("random_start", [False, True])
def test_a_linear_model_is_driven_to_its_closed_form_optimum_by_many_short_steps(objective, random_start):
    """Two logits z = W x: the margin's optimum is the corner x - eps sign(w_y - w_other), cut at black and white."""
    torch.manual_seed(0)
    network = Linear()
    images, labels = torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 0, 1, 0, 1])
    attack = Attack(objective, eps=0.3, steps=70, step_size=0.01, random_start=random_start)
    ours = perturb(Classifier(network, layer="conv"), images, labels, attack)
    away = (network.conv.weight[1] - network.conv.weight[0]).sign().detach()
    optimum = images + 0.3 * torch.where(labels[:, None, None, None] == 0, away, -away)
    torch.testing.assert_close(ours, optimum.clamp(0, 1), rtol=0, atol=1e-6)
    assert ((optimum < 0) | (optimum > 1)).any()


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


def test_settings_out_of_range_are_refused():
    with pytest.raises(UserError, match="steps of at least 1, got 0"):
        Attack(steps=0)
    with pytest.raises(UserError, match="objective"):
        Attack(objective="crossentropy")
    with pytest.raises(UserError, match="label smoothing"):
        Attack(label_smoothing=1.0)
    with pytest.raises(UserError, match="label smoothing with a cross-entropy alone, got the objective margin"):
        Attack("margin", label_smoothing=0.1)
    with pytest.raises(UserError, match="restarts of at least 1"):
        Attack(restarts=2)
    with pytest.raises(UserError, match="sigma of at least 0, got -1"):
        Attack(sigma=-1)
    with pytest.raises(UserError, match="sigma of at least 0, got nan"):
        Attack(sigma=float("nan"))
    with pytest.raises(UserError, match="did you mean 2/255"):
        Attack(step_size=2.0)


@pytest.mark.parametrize("sigma", [None, 10.0])
def test_no_budget_leaves_images_as_they_are(resnet8, scenes_batch, sigma):
    for name, attack in ATTACKS.items():
        if sigma is not None and not attack.deviates:
            continue
        adversarial = perturb(resnet8, *scenes_batch, replace(attack, eps=0.0, steps=1, sigma=sigma))
        assert torch.equal(adversarial, scenes_batch[0]), name
