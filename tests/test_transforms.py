"""Input diversity and smoothed gradients: against scipy and torchattacks, by hand, and by each image's seed alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchattacks
from scipy import ndimage

from attnlab.attacks import ATTACKS, Attack
from attnlab.attacks.limits import MOST_STEPS
from attnlab.attacks.parse import known_attacks, parse_attack
from attnlab.attacks.pgd import perturb
from attnlab.attacks.seeding import reseed
from attnlab.attacks.trajectory import attack_results
from attnlab.attacks.transforms import PADDING, diversified, smoothed

EPS, STEP = 8 / 255, 2 / 255
TRANSFER = ["di-fgsm", "ti-fgsm", "di-ti-mi-fgsm"]


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(6, 3, 19, 23, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


# ------------------------------------------------------------------ smoothed gradients


@pytest.mark.parametrize("side", [1, 3, 15])
def test_smoothing_equals_scipys_gaussian(images, side):
    """A radius of three standard deviations, zeros outside."""
    half = side // 2
    expected = images.numpy()
    if half:
        sigmas = (0, 0, half / 3, half / 3)
        expected = ndimage.gaussian_filter(expected, sigmas, mode="constant", truncate=3.0)
    np.testing.assert_allclose(smoothed(images, side), expected, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 4])
def test_ti_fgsm_equals_torchattacks(small, images, steps):
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    oracle = torchattacks.TIFGSM(small, eps=EPS, alpha=STEP, steps=steps, decay=0.0, diversity_prob=0.0)
    oracle.stacked_kernel = oracle.stacked_kernel.double()
    ours = perturb(small, images, labels, replace(ATTACKS["ti-fgsm"], eps=EPS, steps=steps, step_size=STEP))
    theirs = oracle(images, labels)
    assert ((ours - theirs).abs() > 1e-9).double().mean() < 1e-3  # signs of sums near 0: their kernel is float32


# ------------------------------------------------------------------ input diversity


def test_copies_are_smaller_images_of_nearest_pixels_with_grey_around():
    """Each is found again: some side from 299/331 of the image's on, some place, the nearest pixels."""
    images = torch.rand(40, 1, 22, 32, generator=torch.Generator().manual_seed(1))
    made = diversified(images, range(40), 1.0)
    sides = set()
    for image, copy in zip(images[:, 0], made[:, 0], strict=True):
        inside = copy != PADDING
        rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
        height, width = len(rows), len(columns)
        assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        sides.add((height, width))
        down, across = (torch.arange(n) * whole // n for n, whole in ((height, 22), (width, 32)))
        assert torch.equal(copy[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], image[down][:, across])
    assert {height for height, _ in sides} == {19, 20, 21}
    assert {width for _, width in sides} == {28, 29, 30, 31}


def test_a_copy_follows_from_the_seed_alone(images):
    together = diversified(images, range(6), 0.5)
    alone = torch.cat([diversified(images[[n]], [n], 0.5) for n in range(6)])
    assert torch.equal(together, alone)
    kept = (together == images).flatten(1).all(1)
    assert 0 < kept.sum() < 6
    assert torch.equal(diversified(images, range(6), 0.0), images)
    assert not torch.equal(diversified(images, range(6, 12), 1.0), diversified(images, range(6), 1.0))


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_images_have_copies_too(side):
    images = torch.rand(50, 2, side, side)
    made = diversified(images, range(50), 1.0)
    assert made.isfinite().all()
    assert made.shape == images.shape


def test_the_gradient_through_copies_equals_finite_differences(images):
    assert torch.autograd.gradcheck(
        lambda x: diversified(x, [1, 2], 1.0), images[:2, :1, :5, :6].clone().requires_grad_()
    )


def test_steps_of_di_fgsm_equal_the_gradients_at_each_steps_own_copies(small, images):
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    attack = replace(ATTACKS["di-fgsm"], eps=EPS, steps=2, step_size=STEP)
    point = images
    for step in range(2):
        seen = point.clone().requires_grad_()
        copies = diversified(seen, reseed(range(6), MOST_STEPS + step), 0.5)
        (gradient,) = torch.autograd.grad(F.cross_entropy(small(copies), labels, reduction="sum"), seen)
        point = (point + STEP * gradient.sign()).clamp(0, 1)
    ours = perturb(small, images, labels, attack, seeds=range(6))
    torch.testing.assert_close(ours, point, rtol=0, atol=1e-12)
    plain = perturb(small, images, labels, replace(attack, diversity=None))
    assert 0.02 < (ours != plain).double().mean() < 0.9
    assert torch.equal(perturb(small, images, labels, replace(attack, diversity=0.0)), plain)


# ------------------------------------------------------------------ in the loop


@pytest.mark.parametrize("name", TRANSFER)
def test_a_trajectory_equals_attacks_of_each_length_and_looks_at_the_points_themselves(small, images, name):
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    attack = replace(ATTACKS[name], eps=EPS, step_size=STEP)
    with torch.no_grad():
        clean = small(images)
    results = attack_results(small, images, labels, attack, [2, 4], clean, range(6))
    for steps, result in results.items():
        with torch.no_grad():
            logits = small(perturb(small, images, labels, replace(attack, steps=steps), seeds=range(6)))
        torch.testing.assert_close(result.losses, F.cross_entropy(logits, labels, reduction="none"))


@pytest.mark.parametrize("name", ["di-fgsm", "di-ti-mi-fgsm"])
@pytest.mark.parametrize("stop", [False, True])
def test_neither_batch_nor_stop_nor_start_changes_what_an_image_draws(small, images, name, stop):
    with torch.no_grad():
        clean = small(images)
    labels = clean.argmax(1)
    attack = replace(ATTACKS[name], eps=EPS, step_size=STEP, random_start=True, restarts=2)
    together = attack_results(small, images, labels, attack, [4], clean, range(6), stop=stop)[4]
    for n in range(6):
        one = attack_results(small, images[[n]], labels[[n]], attack, [4], clean[[n]], [n], stop=stop)[4]
        torch.testing.assert_close(one.losses, together.losses[[n]])
        assert torch.equal(one.steps, together.steps[[n]])


def test_other_seeds_draw_other_copies(small, images):
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    attack = replace(ATTACKS["di-fgsm"], eps=EPS, steps=3, step_size=STEP, diversity=1.0)
    drawn = [perturb(small, images, labels, attack, seeds=seeds) for seeds in (range(6), range(6, 12))]
    assert not torch.equal(*drawn)
    assert torch.equal(perturb(small, images, labels, attack), drawn[0])  # by default the place in the batch


@pytest.mark.parametrize("name", TRANSFER)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_ball_is_kept(small, images, name, norm):
    eps = {"linf": EPS, "l2": 0.5}[norm]
    attack = replace(ATTACKS[name], eps=eps, norm=norm, target=2 if name == "di-fgsm" else None)
    moved = perturb(small, images, torch.tensor([0, 1, 2, 3, 0, 1]), attack) - images
    length = moved.abs().amax() if norm == "linf" else moved.flatten(1).norm(dim=1).amax()
    assert 0.5 * eps < length <= eps + 1e-9


# ------------------------------------------------------------------ names


def test_the_names_and_what_they_refuse():
    assert parse_attack("di-ti-mi-fgsm20") == Attack(steps=20, rule="momentum", diversity=0.5, kernel=15)
    assert parse_attack("ti-fgsm+a3").sigma == 10
    assert "ti-fgsm+a3" in known_attacks()
    assert "di-fgsm+a3" not in known_attacks()
    with pytest.raises(ValueError, match=r"got di-fgsm10\+a3, which looks at copies"):
        parse_attack("di-fgsm10+a3")
    for wrong in ({"kernel": 4}, {"kernel": 0}, {"diversity": 1.5}, {"diversity": 0.5, "sigma": 1.0}):
        with pytest.raises(ValueError, match=r"expected (a kernel|diversity)"):
            Attack(**wrong)
