"""A3, the attention-augmented attack: by hand, against plain autograd, finite differences, and at sigma 0."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from attnlab.attacks import ATTACKS, Attack
from attnlab.attacks.clean_pass import clean_areas
from attnlab.attacks.context import start_of
from attnlab.attacks.objectives import attention_deviation
from attnlab.attacks.pgd import perturb
from attnlab.attacks.trajectory import attack_results
from attnlab.attention.gradcam import grad_cam, logits_and_maps
from attnlab.attention.map_metrics import above_mean, normalize_max
from attnlab.errors import UserError
from attnlab.hooks import find_layer
from attnlab.models import Classifier, load_model
from attnlab.pipelines.accuracy_records import AttackBatch, run_attacks
from attnlab.pipelines.fused_pass import fused_pass

EPS = 0.05


def noise(count: int) -> Tensor:
    """Images for the small networks, (N, 3, 19, 23)."""
    return torch.rand(count, 3, 19, 23, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def maps_of(classifier: Classifier, images: Tensor, labels: Tensor, *, create_graph: bool) -> Tensor:
    return logits_and_maps(classifier, images, labels, create_graph=create_graph)[1]


def plain_maps(classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Grad-CAM with a hook and autograd alone, for any head, with its graph: (N, h, w)."""
    seen = []
    layer = find_layer(classifier.network, classifier.attention_layer)
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output) or output.clone())
    logits = classifier(images)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[range(len(labels)), labels].sum(), seen[0], create_graph=True)
    return (gradient.mean((2, 3), keepdim=True) * seen[0]).sum(1)


def plain_value(classifier: Classifier, image: Tensor, clean: Tensor, label: int, sigma: float) -> Tensor:
    """Cross-entropy + sigma ||Att(x) - g(x_adv)||_1 / cells (eqs. 11 and 12) of one image, cell by cell."""
    now, before = (plain_maps(classifier, x[None], torch.tensor([label]))[0].relu() for x in (image, clean))
    logits = classifier(image[None])[0]
    total = logits.logsumexp(0) - logits[label]
    if before.max() == 0:
        return total
    scale = now.max() if now.max() > 0 else 1.0
    cells = [abs(float(b >= before.mean()) - n / scale) for b, n in zip(before.flatten(), now.flatten(), strict=True)]
    return total + sigma * sum(cells) / len(cells)


# ------------------------------------------------------------------ parts


def test_unit_by_hand():
    maps = torch.tensor([[[1.0, -2.0], [4.0, 0.0]], [[-1.0, -2.0], [-3.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]])
    assert normalize_max(maps).tolist() == [[[0.25, 0], [1, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]]


def test_unit_of_a_map_without_anything_positive_has_a_finite_gradient():
    maps = torch.tensor([[[-1.0, 0.0], [0.0, -2.0]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(normalize_max(maps).sum(), maps)
    assert gradient.isfinite().all()


def test_attention_deviation_by_hand():
    areas = torch.tensor([[[True, False], [True, False]], [[False, False], [False, False]]])
    maps = torch.tensor([[[1.0, 0.5], [0.25, 0.0]], [[1.0, 0.5], [0.25, 0.0]]])
    assert attention_deviation(areas, maps).tolist() == [(0 + 0.5 + 0.75 + 0) / 4, 0.0]


@pytest.mark.parametrize(("size", "value"), [(7, 0.7), (8, 0.1), (14, 1e-3)])
def test_the_area_of_a_constant_map_is_everything(size, value):
    assert above_mean(torch.full((1, size, size), value)).all()


def test_map_with_a_graph_equals_the_one_without(either):
    images, labels = noise(5).requires_grad_(), torch.tensor([0, 1, 2, 3, 4])
    with_graph = maps_of(either, images, labels, create_graph=True)
    assert with_graph.requires_grad
    assert torch.equal(with_graph, maps_of(either, images, labels, create_graph=False))
    torch.testing.assert_close(with_graph, grad_cam(either, images.detach(), labels), rtol=0, atol=1e-15)
    torch.testing.assert_close(with_graph, plain_maps(either, images, labels), rtol=0, atol=1e-15)


@pytest.mark.parametrize("what", ["map", "deviation"])
def test_gradient_through_the_map_equals_finite_differences(either, what):
    labels = torch.tensor([1, 2, 4])
    images, step = noise(3), 1e-6
    areas = above_mean(grad_cam(either, images, labels).relu())
    weights = torch.rand(grad_cam(either, images, labels).shape, generator=torch.Generator().manual_seed(0)).double()

    def value(points: Tensor, *, create_graph: bool = False) -> Tensor:
        maps = maps_of(either, points, labels, create_graph=create_graph)
        return (maps * weights).sum((1, 2)) if what == "map" else attention_deviation(areas, normalize_max(maps))

    points = (images + 0.01 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    (gradient,) = torch.autograd.grad(value(points, create_graph=True).sum(), points)
    assert (gradient.flatten(1).abs().amax(1) > 0).all()
    for seed in range(5):
        direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).double()
        expected = (value(points + step * direction) - value(points - step * direction)) / (2 * step)
        torch.testing.assert_close((gradient * direction).flatten(1).sum(1), expected.detach(), rtol=1e-5, atol=1e-9)


# ------------------------------------------------------------------ the attack


@pytest.mark.parametrize("sigma", [10.0, 1000.0])
def test_a_step_follows_the_finite_differences_of_the_hand_made_value(either, sigma):
    """From a start off the clean image, pixel by pixel, wherever the slope is not too flat to tell."""
    (image,), label, step = noise(1), 2, 1e-6
    attack = Attack(eps=EPS, step_size=1e-3, random_start=True, sigma=sigma)
    (start,) = start_of(image[None], attack, [0])
    (moved,) = perturb(either, image[None], torch.tensor([label]), attack, seeds=[0])
    pixels = torch.randperm(image.numel(), generator=torch.Generator().manual_seed(0))[:60]
    message = 0
    for pixel in pixels.tolist():
        nudge = torch.zeros(image.numel(), dtype=torch.float64)
        nudge[pixel] = step
        nudge = nudge.view(image.shape)
        above, below = (plain_value(either, start + sign * nudge, image, label, sigma) for sign in (1, -1))
        slope = (above - below).item() / (2 * step)
        if abs(slope) > 1e-6 and 0.01 < start.flatten()[pixel] < 0.99:
            message += 1
            assert (moved - start).flatten()[pixel] * slope > 0 or abs(
                (moved - image).flatten()[pixel].abs() - EPS
            ) < 1e-9, "at the ball's edge it stays"
    assert message > 20


@pytest.mark.parametrize("random_start", [False, True])
def test_a3_equals_the_hand_made_value_climbed_in_a_plain_loop(either, random_start):
    images, labels, seeds = noise(5), torch.tensor([0, 1, 2, 3, 4]), [5, 6, 7, 8, 9]
    attack = Attack(eps=EPS, steps=4, step_size=0.02, random_start=random_start, sigma=10.0)
    ours = perturb(either, images, labels, attack, seeds=seeds)
    for image, label, start, found in zip(images, labels.tolist(), start_of(images, attack, seeds), ours, strict=True):
        point = start
        for _ in range(4):
            point = point.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(plain_value(either, point, image, label, 10.0), point)
            point = point + 0.02 * gradient.sign()
            point = torch.minimum(torch.maximum(point, image - EPS), image + EPS).clamp(0, 1).detach()
        torch.testing.assert_close(found, point, rtol=0, atol=1e-12)


def test_a3_of_resnet8_in_closed_form_equals_plain_autograd(resnet8, scenes_batch):
    images, labels = (part[:4] for part in scenes_batch)
    attack = Attack(eps=4 / 255, steps=3, step_size=2 / 255, sigma=10.0)
    closed = perturb(resnet8, images, labels, attack)
    generic = load_model("resnet8").place("cpu")
    generic.head = None
    assert (closed != perturb(generic, images, labels, attack)).float().mean() < 0.01  # signs of gradients near 0
    assert (closed != perturb(resnet8, images, labels, replace(attack, sigma=None))).float().mean() > 0.05


@pytest.mark.parametrize("name", ["fgsm", "pgd", "cw", "iter-stepll", "stepll"])
@pytest.mark.parametrize("random_start", [False, True])
def test_sigma_0_equals_the_base_attack_to_the_bit(either, name, random_start):
    images, labels = noise(5), torch.tensor([0, 1, 2, 3, 4])
    attack = replace(ATTACKS[name], eps=EPS, random_start=random_start)
    attack = replace(attack, steps=min(attack.steps, 4))
    base = perturb(either, images, labels, attack)
    assert torch.equal(perturb(either, images, labels, replace(attack, sigma=0.0)), base)
    assert not torch.equal(perturb(either, images, labels, replace(attack, sigma=10.0)), base)


@pytest.mark.parametrize("name", ["pgd", "cw", "iter-stepll"])
@pytest.mark.parametrize("head", ["classifier", None])
def test_sigma_0_equals_the_base_attack_to_the_bit_for_resnet8(scenes_batch, name, head):
    classifier = load_model("resnet8").place("cpu")
    classifier.head = head
    images, labels = (part[:4] for part in scenes_batch)
    attack = replace(ATTACKS[name], steps=3, step_size=2 / 255)
    base = perturb(classifier, images, labels, attack)
    assert torch.equal(perturb(classifier, images, labels, replace(attack, sigma=0.0)), base)


def test_an_image_whose_clean_map_is_zero_everywhere_is_attacked_as_by_the_base_attack(pooled):
    """Class 0 of this network has no positive evidence, so its maps are zero; the others of the batch have an area."""
    images, labels = noise(4), torch.tensor([0, 1, 0, 2])
    clean = grad_cam(pooled, images, labels).relu().amax((1, 2))
    assert (clean == 0).tolist() == [True, False, True, False]
    attack = Attack(eps=EPS, steps=3, random_start=True)
    base, augmented = (perturb(pooled, images, labels, replace(attack, sigma=sigma)) for sigma in (None, 10.0))
    same = (base == augmented).flatten(1).all(1)
    assert same.tolist() == [True, False, True, False]


def test_an_image_without_an_area_has_none_either_when_its_map_lights_up_on_the_way():
    """Features of flat grey are just below the ReLU, and noise lifts some of them above."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(6, 3),
    )
    network.input_size = (19, 23)
    network[0].bias.data = -0.5 * network[0].weight.data.sum((1, 2, 3)) - 0.01
    classifier = Classifier(network.eval()).double()
    images, labels, seeds = torch.full((3, 3, 19, 23), 0.5, dtype=torch.float64), torch.tensor([0, 1, 2]), [1, 2, 3]
    attack = Attack(eps=EPS, steps=3, random_start=True)
    assert (grad_cam(classifier, images, labels) <= 0).all()
    assert (grad_cam(classifier, start_of(images, attack, seeds), labels).amax((1, 2)) > 0).all()
    augmented = perturb(classifier, images, labels, replace(attack, sigma=10.0), seeds=seeds)
    assert torch.equal(augmented, perturb(classifier, images, labels, attack, seeds=seeds))


def test_company_in_the_batch_changes_no_image(either):
    images, labels, seeds = noise(5), torch.tensor([0, 1, 2, 3, 4]), [50, 51, 52, 53, 54]
    attack = Attack(eps=EPS, steps=3, random_start=True, sigma=10.0)
    together = perturb(either, images, labels, attack, seeds=seeds)
    for place in range(5):
        alone = perturb(either, images[[place]], labels[[place]], attack, seeds=[seeds[place]])
        torch.testing.assert_close(alone[0], together[place], rtol=0, atol=1e-12)


def test_a3_moves_attention_further_than_its_base_attack(either):
    images, labels = noise(16), torch.arange(16) % 4 + 1
    areas = above_mean(grad_cam(either, images, labels).relu())
    attack = Attack(eps=EPS, steps=5)
    reached = [
        attention_deviation(
            areas,
            normalize_max(grad_cam(either, perturb(either, images, labels, replace(attack, sigma=sigma)), labels)),
        ).mean()
        for sigma in (None, 100.0)
    ]
    assert reached[1] > reached[0] + 0.01


# ------------------------------------------------------------------ what is borrowed


def state_of(classifier: Classifier) -> list[object]:
    parameters = list(classifier.parameters())
    return [
        [module.training for module in classifier.modules()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in classifier.modules()],
        [parameter.requires_grad for parameter in parameters],
        [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters],
        {name: value.clone() for name, value in classifier.state_dict().items()},
    ]


@pytest.fixture
def resnet8_passes(resnet8) -> Iterator[list[int]]:
    """Sizes of the batches that pass ResNet8."""
    sizes: list[int] = []
    handle = resnet8.network.register_forward_pre_hook(lambda _network, inputs: sizes.append(len(inputs[0])))
    yield sizes
    handle.remove()


@pytest.mark.parametrize("random_start", [False, True])
def test_areas_of_a_clean_pass_made_before_change_nothing(resnet8, scenes_batch, random_start):
    attack = replace(ATTACKS["iter-stepll"], eps=EPS, steps=2, sigma=10.0, random_start=random_start)
    clean = clean_areas(resnet8, *scenes_batch)
    assert torch.equal(perturb(resnet8, *scenes_batch, attack, clean=clean), perturb(resnet8, *scenes_batch, attack))


@pytest.mark.parametrize(("target", "clean_passes"), [("true", 1), ("predicted", 2)])
def test_an_analysis_passes_the_clean_images_for_a3_once_for_all_eps(
    resnet8, scenes_batch, resnet8_passes, target, clean_passes
):
    attacks = [Attack(eps=eps, steps=3, sigma=10.0, random_start=True) for eps in (EPS, 2 * EPS)]
    _, adversarial = fused_pass(resnet8, *scenes_batch, attacks, {"grad-cam": target})
    assert len(resnet8_passes) == clean_passes + 2 * (3 + 1)
    for attack, seen in zip(attacks, adversarial, strict=True):
        assert torch.equal(seen.images, perturb(resnet8, *scenes_batch, attack))


def test_an_evaluation_passes_the_clean_images_once_for_every_a3(resnet8, scenes_batch, resnet8_passes):
    images, labels = scenes_batch
    with torch.no_grad():
        logits = resnet8(images)
    attacks = {name: replace(ATTACKS[name], eps=EPS, steps=2, sigma=10.0) for name in ("pgd", "iter-stepll")}
    target = AttackBatch(resnet8, resnet8, [], images, labels, logits, list(range(len(images))), {})
    resnet8_passes.clear()
    together = run_attacks(target, attacks)
    assert len(resnet8_passes) == 1 + 2 * (2 + 1)
    for name, attack in attacks.items():
        alone = attack_results(resnet8, images, labels, attack, [2], logits, target.seeds)
        assert torch.equal(together[name].margins, alone[2].margins)


def assert_same_state(first: list[object], second: list[object]) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_classifier_in_training_with_a_frozen_batch_norm_is_given_back_as_it_was(pooled):
    pooled.train()
    pooled.network.norm.eval()
    pooled.network.first.weight.requires_grad_(False)
    pooled.network.last.weight.grad = torch.ones_like(pooled.network.last.weight)
    before = state_of(pooled)
    evaluated = perturb(pooled, noise(3), torch.tensor([1, 2, 3]), Attack(eps=EPS, steps=2, sigma=10.0))
    assert_same_state(before, state_of(pooled))
    pooled.eval()
    assert torch.equal(
        evaluated, perturb(pooled, noise(3), torch.tensor([1, 2, 3]), Attack(eps=EPS, steps=2, sigma=10.0))
    )


@pytest.mark.parametrize("passes", [0, 1, 2])
def test_a_classifier_that_raises_in_the_middle_is_given_back_as_it_was(either, passes):
    either.train()
    either.network.second.eval()
    before = state_of(either)
    done = []

    def fail(*_arguments: object) -> None:
        done.append(1)
        if len(done) > passes:
            raise RuntimeError("no more")

    handle = either.network.last.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="no more"):
        perturb(either, noise(2), torch.tensor([1, 2]), Attack(eps=EPS, steps=3, sigma=10.0))
    handle.remove()
    assert_same_state(before, state_of(either))


def test_images_of_the_caller_get_no_gradient(either):
    images = noise(2).requires_grad_()
    adversarial = perturb(either, images, torch.tensor([1, 2]), Attack(eps=EPS, steps=2, sigma=10.0))
    assert images.grad is None
    assert not adversarial.requires_grad


def test_a_model_without_an_attention_layer_is_refused_by_a3_alone(either):
    either.attention_layer = None
    images, labels = noise(1), torch.tensor([1])
    perturb(either, images, labels, Attack(eps=EPS))
    with pytest.raises(UserError, match="--layer"):
        perturb(either, images, labels, Attack(eps=EPS, sigma=10.0))
