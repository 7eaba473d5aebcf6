"""Attacks outside or inside the ground truth alone: what may change, what must not, and what is left out."""

from dataclasses import replace

import pytest
import torch
from common import error_of
from PIL import Image

from attnlab.attacks import Attack
from attnlab.attacks.norms import NORMS
from attnlab.attacks.parse import parse_attack, parse_attacks
from attnlab.attacks.pgd import perturb
from attnlab.attacks.trajectory import attack_results
from attnlab.data.base import Example
from attnlab.data.resizing import ResizedDataset, Skipped
from attnlab.errors import UserError
from attnlab.interactive import attack as attack_at_hand

NAMES = ("fgsm", "stepll", "pgd5", "cw5", "mi-fgsm5", "pgd3+a3", "explain3", "keep-map3")


class Boxed:
    """Black images of 8 x 8 pixels with these boxes each."""

    def __init__(self, boxes):
        self.boxes, self.image_ids = boxes, [str(number) for number in range(len(boxes))]

    def read(self, index):
        return Example(Image.new("RGB", (8, 8)), 0, torch.tensor(self.boxes[index], dtype=torch.float64).reshape(-1, 4))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(3, 3, 19, 23, dtype=torch.float64, generator=generator)
    truth = torch.zeros(3, 19, 23, dtype=torch.bool)
    truth[0, 4:11, 6:15], truth[1, :, :10], truth[2, 18, 22] = True, True, True
    return images, torch.tensor([0, 1, 2]), truth


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("where", ["outside", "inside"])
@pytest.mark.parametrize("name", NAMES)
def test_pixels_out_of_the_region_stay_to_the_bit_and_others_in_the_ball(small, batch, name, where, norm):
    images, labels, truth = batch
    eps = 0.05 if norm == "linf" else 0.8
    attack = replace(parse_attack(name), eps=eps, norm=norm, where=where)
    if attack.random_start:
        attack = replace(attack, restarts=2)
    made = perturb(small, images, labels, attack, truth=truth)
    kept = (truth if where == "outside" else ~truth)[:, None].expand_as(images)
    assert torch.equal(made[kept], images[kept])
    assert (made != images).any() or name == "explain3"  # which may hold the clean image as its best point
    assert (NORMS[norm].length(made - images) <= eps * (1 + 1e-9)).all()
    assert made.min() >= 0
    assert made.max() <= 1


def test_a_step_inside_equals_the_sign_of_the_gradient_there_by_hand(small, batch):
    images, labels, truth = batch
    images.requires_grad_()
    loss = torch.nn.functional.cross_entropy(small(images), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    made = perturb(small, images.detach(), labels, Attack(eps=0.1, where="inside"), truth=truth)
    by_hand = (images + 0.1 * gradient.sign() * truth[:, None]).clamp(0, 1).detach()
    torch.testing.assert_close(made, by_hand, rtol=0, atol=0)


def test_outside_nothing_and_inside_nothing_are_the_attack_everywhere_and_none(small, batch):
    images, labels, truth = batch
    attack = parse_attack("pgd4")
    nothing = torch.zeros_like(truth)
    everywhere = perturb(small, images, labels, attack)
    assert torch.equal(perturb(small, images, labels, replace(attack, where="outside"), truth=nothing), everywhere)
    assert torch.equal(perturb(small, images, labels, replace(attack, where="inside"), truth=nothing), images)


def test_a_trajectory_read_in_a_region_equals_separate_attacks(small, batch):
    images, labels, truth = batch
    attack = replace(parse_attack("pgd5"), eps=0.1, where="outside", restarts=2)
    with torch.no_grad():
        clean = small(images)
    read = attack_results(small, images, labels, attack, {2, 5}, clean, [0, 1, 2], truth=truth)
    for steps, result in read.items():
        alone = replace(attack, steps=steps, step_size=attack.step_length)
        with torch.no_grad():
            logits = small(perturb(small, images, labels, alone, seeds=[0, 1, 2], truth=truth))
        assert torch.equal(result.predictions, logits.argmax(1))


def test_a_region_needs_ground_truth_and_the_loop(small, batch):
    images, labels, _ = batch
    with pytest.raises(UserError, match="expected the ground truth of the images for an attack outside it, got none"):
        attack_at_hand(small, images, labels, "pgd2", where="outside")
    with pytest.raises(UserError, match="expected --where all with square, got inside; attacks that go inside: fgsm, "):
        parse_attacks("clean,square", "scenes", where="inside")
    assert parse_attacks("pgd", "scenes", where="inside")["pgd"].where == "inside"
    assert "did you mean 'outside'?" in error_of(lambda: Attack(where="outsid"))


def test_images_without_both_sides_of_the_region_are_skipped_with_the_reason():
    images = Boxed([[(0, 0, 8, 8)], [(1, 1, 4, 4)], []])
    for where, skipped in (("all", 0), ("outside", 2), ("inside", 2)):
        read = ResizedDataset(images, (8, 8), where=where)
        reasons = [item.reason for item in map(read.__getitem__, range(3)) if isinstance(item, Skipped)]
        assert len(reasons) == skipped
        if skipped:
            assert reasons[0] == "its ground truth fills the frame, so that nothing is outside"
            assert reasons[1] == f"no ground truth in the frame, {where} which to attack it"
