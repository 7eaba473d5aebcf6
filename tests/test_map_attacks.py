"""Attacks on maps: by hand, against a plain loop of Ghorbani et al.'s attack, and what must hold for every point."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from attnlab.attacks import ATTACKS, DISTANCES, Attack
from attnlab.attacks.context import start_of
from attnlab.attacks.map_objectives import Best, MapPoint, keep_map, kept, move_map, moved
from attnlab.attacks.pgd import best_points, perturb
from attnlab.attention.gradcam import grad_cam
from attnlab.attention.map_metrics import topk_overlap
from attnlab.errors import UserError
from attnlab.hooks import find_layer
from attnlab.models import Classifier

EXPLAIN = replace(ATTACKS["explain"], eps=0.05, steps=4, step_size=0.02)
COUNT = 6
SEEDS = [7 * number for number in range(COUNT)]


@pytest.fixture
def lit(either) -> Classifier:
    """Either small network with evidence for every class in all cells, so that there is mass to move."""
    for layer in (getattr(either.network, "hidden", None), either.network.last):
        if layer is not None:
            layer.weight.data.abs_()
    return either


def noise(count: int = COUNT) -> Tensor:
    return torch.rand(count, 3, 19, 23, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def predictions(classifier: Classifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier(images).argmax(1)


def leads(classifier: Classifier, images: Tensor, classes: Tensor) -> list[float]:
    """Logit of the class less the highest of the others, image by image."""
    found = []
    for image, label in zip(images, classes.tolist(), strict=True):
        with torch.no_grad():
            logits = classifier(image[None])[0].tolist()
        found.append(logits.pop(label) - max(logits))
    return found


# ------------------------------------------------------------------ distances


def test_distances_by_hand():
    clean = torch.tensor([[[3.0, 1.0], [0.0, -2.0]]])  # of mass 3/4, 1/4, 0, 0; the highest fifth is one cell
    maps = torch.tensor([[[1.0, 1.0], [2.0, -1.0]]])  # 1/4, 1/4, 1/2, 0
    found = {name: distance(clean, maps).item() for name, distance in DISTANCES.items()}
    assert found["top-k"] == pytest.approx(3 / 4 - 1 / 4)
    assert found["l2"] == pytest.approx((2 * 0.5**2) ** 0.5)
    assert found["cosine"] == pytest.approx(1 - (3 + 1 + 0 + 2) / (14**0.5 * 7**0.5))
    assert found["centre"] == pytest.approx(((0.5 - 0.25) ** 2 + (0.375 - 0.375) ** 2) ** 0.5)


def test_the_mass_centre_by_hand_is_in_heights_and_widths():
    maps = torch.zeros(2, 2, 4)
    maps[0, 0, 0] = maps[1, 1, 3] = 1.0
    (shift,) = DISTANCES["centre"](maps[:1], maps[1:])
    assert shift.item() == pytest.approx(((3 / 4 - 1 / 4) ** 2 + (7 / 8 - 1 / 8) ** 2) ** 0.5)


@pytest.mark.parametrize("name", DISTANCES)
def test_equal_maps_and_those_without_evidence_have_a_distance_of_0_and_a_finite_gradient(name):
    clean = torch.tensor([[[3.0, 1.0], [0.0, -2.0]], [[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    maps = torch.stack([clean[0], torch.zeros(2, 2), clean[1]]).requires_grad_()
    distances = DISTANCES[name](clean, maps)
    torch.testing.assert_close(distances, torch.zeros(3), rtol=0, atol=1e-6)
    (gradient,) = torch.autograd.grad(distances.sum(), maps)
    assert gradient.isfinite().all()


# ------------------------------------------------------------------ what is climbed, and which point is kept


def test_what_is_climbed_and_kept_by_hand():
    logits = torch.tensor([[3.0, 1.0], [1.0, 0.5], [0.0, 2.0]])
    point = MapPoint(logits, torch.tensor([0, 0, 0]), torch.tensor([0.2, 0.3, 0.4]), torch.tensor([True] * 3))
    assert move_map(point, 1.0).tolist() == pytest.approx([0.2, 0.5, -2.0])
    assert moved(point, 1.0).tolist() == pytest.approx([0.2, -torch.inf, -torch.inf])
    assert keep_map(point, 0.0).tolist() == pytest.approx([-2.0, -0.5, -0.4])
    assert kept(point, 0.0).tolist() == pytest.approx([-2.0, -0.5, torch.exp(torch.tensor(-0.4)).item()])
    distances, shown = torch.tensor([0.0, 0.0, 5.0]), torch.tensor([False, True, True])
    changed = MapPoint(logits[[2, 2, 2]], torch.tensor([0, 0, 0]), distances, shown)
    assert kept(changed, 0.0).tolist() == pytest.approx([0, 1, torch.exp(torch.tensor(-5.0)).item()])
    best = Best(torch.zeros(3, 1, 1, 1), torch.tensor([0.2, -torch.inf, -torch.inf]).double())
    better = best.or_better(torch.ones(3, 1, 1, 1), torch.tensor([0.2, 0.0, torch.nan]).double())
    assert better.images.flatten().tolist() == [0, 1, 0]
    assert better.scores.tolist() == [pytest.approx(0.2), 0, -torch.inf]


class Plain(nn.Module):
    """Grey pixels are the attention layer's cells; two classes see their sum with weights 2 and -1."""

    def __init__(self) -> None:
        super().__init__()
        self.input_size = (2, 3)
        self.attention_layer = "cells"
        self.cells, self.last = nn.Conv2d(1, 1, 1, bias=False), nn.Linear(1, 2, bias=False)
        self.cells.weight.data.fill_(1.0)
        self.last.weight.data[:] = torch.tensor([[2.0], [-1.0]])

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.cells(images).mean((2, 3)))


def test_a_step_on_a_linear_map_by_hand():
    """The map is 2/6 of the pixels; its share in the one highest cell falls with that cell and rises with no other."""
    classifier = Classifier(Plain()).double().eval()
    image = torch.tensor([[0.2, 0.4, 0.9], [0.5, 0.1, 0.3]], dtype=torch.float64).view(1, 1, 2, 3)
    torch.testing.assert_close(grad_cam(classifier, image, torch.tensor([0])), image[0] / 3)
    attack = replace(EXPLAIN, steps=1, random_start=False, eps=0.1, step_size=0.1)
    by_hand = torch.tensor([[0.3, 0.5, 0.8], [0.6, 0.2, 0.4]], dtype=torch.float64).view(1, 1, 2, 3)
    torch.testing.assert_close(perturb(classifier, image, torch.tensor([0]), attack), by_hand)
    # a mean of .4 gives logits .8 and -.4; a lead of 1.6 is not there before the step back, nor after it
    assert torch.equal(perturb(classifier, image, torch.tensor([0]), replace(attack, keep=1.6)), image)


def plain_maps(classifier: Classifier, image: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """Logits and Grad-CAM of one image with a hook and autograd alone, with their graph: (K,), (h, w)."""
    seen = []
    layer = find_layer(classifier.network, classifier.attention_layer)
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output) or output.clone())
    logits = classifier(image[None])[0]
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[label], seen[0], create_graph=True)
    return logits, (gradient.mean((2, 3), keepdim=True) * seen[0])[0].sum(0)


def ghorbani(classifier: Classifier, image: Tensor, start: Tensor, attack: Attack) -> Tensor:
    """Top-k attack (algorithm 1 of Ghorbani et al. 2019) with steps back to the prediction, pixel sums written out."""
    label = int(classifier(image[None]).argmax())
    _, clean = plain_maps(classifier, image, label)
    ranked = sorted(range(clean.numel()), key=lambda cell: (-clean.flatten()[cell].item(), cell))
    highest = ranked[: max(1, round(0.2 * clean.numel()))]
    best, best_value, point = image, None, start
    for step in range(attack.steps + 1):
        point = point.detach().requires_grad_()
        logits, maps = plain_maps(classifier, point, label)
        cells = [cell.clamp(min=0) for cell in maps.flatten()]
        value = -sum(cells[cell] for cell in highest) / sum(cells)  # the objective D of their top-k attack
        lead = logits[label] - max(logits[other] for other in range(len(logits)) if other != label)
        holds = int(logits.argmax()) == label and bool(lead >= attack.keep)
        if best_value is None:
            positive = [cell.clamp(min=0) for cell in clean.flatten()]
            best_value = -sum(positive[cell].item() for cell in highest) / sum(positive).item()
        if holds and value.item() > best_value:
            best, best_value = point.detach(), value.item()
        if step < attack.steps:
            (gradient,) = torch.autograd.grad(value if holds else lead, point)
            point = point + attack.step_length * gradient.sign()
            point = torch.minimum(torch.maximum(point, image - attack.eps), image + attack.eps).clamp(0, 1)
    return best


@pytest.mark.parametrize("share", [0.0, 0.98])
def test_explain_equals_a_plain_loop_of_ghorbanis_attack(lit, share):
    """At a margin of 0, and at one that most images have and lose on the way."""
    images = noise()
    attack = replace(EXPLAIN, keep=share * min(leads(lit, images, predictions(lit, images))))
    ours = perturb(lit, images, torch.zeros(COUNT, dtype=torch.int64), attack, seeds=SEEDS)
    for image, start, found in zip(images, start_of(images, attack, SEEDS), ours, strict=True):
        expected = ghorbani(lit, image, start, attack)
        assert not torch.equal(expected, image)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


# ------------------------------------------------------------------ what must hold


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("keep", [0.0, 0.05, 1e6])
def test_points_stay_in_the_ball_and_keep_their_prediction_by_the_margin_or_are_the_clean_image(lit, distance, keep):
    images = noise()
    images[0] = images[0].round()
    classes = predictions(lit, images)
    attack = replace(EXPLAIN, distance=distance, keep=keep, eps=0.2, step_size=0.1)
    found = perturb(lit, images, classes, attack, seeds=SEEDS)
    assert (found - images).abs().max() <= 0.2 + 1e-12
    assert (found.min() >= 0, found.max() <= 1) == (True, True)
    assert torch.equal(predictions(lit, found), classes)
    same = (found == images).flatten(1).all(1).tolist()
    assert all(left or lead >= keep for left, lead in zip(same, leads(lit, found, classes), strict=True))
    assert all(same) if keep == 1e6 else not all(same)


def distances_of(classifier: Classifier, images: Tensor, found: Tensor, name: str = "top-k") -> Tensor:
    classes = predictions(classifier, images)
    return DISTANCES[name](grad_cam(classifier, images, classes), grad_cam(classifier, found, classes))


def test_more_steps_and_more_starts_never_move_a_map_less(lit):
    images, labels = noise(), torch.zeros(COUNT, dtype=torch.int64)
    before = torch.zeros(COUNT, dtype=torch.float64)
    points = best_points(lit, images, labels, EXPLAIN, [1, 2, 5], seeds=SEEDS)
    for steps, found in points.items():
        now = distances_of(lit, images, found)
        assert (now >= before - 1e-12).all()
        before = now
        torch.testing.assert_close(perturb(lit, images, labels, replace(EXPLAIN, steps=steps), seeds=SEEDS), found)
    more = perturb(lit, images, labels, replace(EXPLAIN, steps=5, restarts=2), seeds=SEEDS)
    assert (distances_of(lit, images, more) >= before - 1e-12).all()
    assert (distances_of(lit, images, more) > before).any()


@pytest.mark.parametrize("name", ["explain", "keep-map"])
def test_company_in_the_batch_and_labels_change_no_image(lit, name):
    images, labels = noise(), torch.zeros(COUNT, dtype=torch.int64)
    attack = replace(ATTACKS[name], eps=0.05, steps=3, step_size=0.02)
    together = perturb(lit, images, labels, attack, seeds=SEEDS)
    for place in range(COUNT):
        alone = perturb(lit, images[[place]], labels[[place]] + 1, attack, seeds=[SEEDS[place]])
        torch.testing.assert_close(alone[0], together[place], rtol=0, atol=1e-12)


def test_on_a_trained_network_maps_leave_their_place_and_predictions_stay(resnet8, scenes_batch):
    images, labels = (part[:8] for part in scenes_batch)
    classes = predictions(resnet8, images)
    clean = grad_cam(resnet8, images, classes)

    def overlap(found: Tensor) -> float:
        return float(topk_overlap(clean, grad_cam(resnet8, found, classes), 10).nanmean())

    made = {
        name: perturb(resnet8, images, labels, replace(ATTACKS[name], eps=16 / 255, step_size=4 / 255, steps=8))
        for name in ("explain", "keep-map", "pgd")
    }
    start = start_of(images, replace(ATTACKS["explain"], eps=16 / 255), range(len(images)))
    assert torch.equal(predictions(resnet8, made["explain"]), classes)
    assert overlap(made["explain"]) < 0.5 * overlap(start), "noise as large moves the maps little"
    changed = predictions(resnet8, made["keep-map"]) != classes
    assert changed.float().mean() > 0.8
    assert overlap(made["keep-map"]) > overlap(made["pgd"]) + 0.1


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": -0.5}, "expected --keep-prediction of at least 0, got -0.5"),
        ({"keep": float("nan")}, "expected --keep-prediction of at least 0, got nan"),
        ({"softplus": 0.0}, "expected --explain-softplus above 0, such as 10, got 0"),
        ({"method": "lime"}, "expected --explain-method to have maps with a gradient by the images"),
        ({"distance": "topk"}, "did you mean 'top-k'"),
        ({"sigma": 1.0}, "got one on maps, move-map"),
        ({"rule": "nesterov"}, "expected a step rule that looks at each point"),
        ({"objective": "margin"}, "expected objective to be one of move-map, keep-map"),
        ({"label_smoothing": 0.1}, "expected label smoothing with a cross-entropy alone"),
    ],
)
def test_settings_that_make_no_attack_on_maps_are_refused(changes, message):
    with pytest.raises(UserError, match=message.replace("+", r"\+")):
        replace(EXPLAIN, **changes)
