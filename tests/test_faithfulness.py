"""Measures by the classifier: by hand on a linear model, against other libraries, and in other batches."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from pytorch_grad_cam.metrics import road as grad_cam_road
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
from pytorch_grad_cam.metrics.road import NoisyLinearImputer, ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from torch import Tensor, nn

from attnlab.attention import gradcam
from attnlab.attention.map_metrics import normalize_max, resize_maps
from attnlab.boxes import mask_of
from attnlab.measures import MEASURES, faithfulness, perturbed, road
from attnlab.models import Classifier

NAMES = [name for name, measure in MEASURES.items() if measure.family == "faithfulness"]


class Weighted(nn.Module):
    """Logits w x and 0, so that class 0 has the probability sigmoid(w x)."""

    def __init__(self, weights: list[list[float]]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float64))
        self.input_size = self.weights.shape

    def forward(self, x: Tensor) -> Tensor:
        score = (self.weights * x).sum((1, 2, 3))
        return torch.stack([score, torch.zeros_like(score)], 1)


def linear(weights: list[list[float]]) -> Classifier:
    return Classifier(Weighted(weights), channels=1).double().eval()


@pytest.fixture
def seen(small, batch):
    """A small network, images, labels, their maps at the images' size, and seeds."""
    images, _, classes = batch
    maps = resize_maps(gradcam.grad_cam(small, images, classes), (19, 23))
    return small, images, maps, classes, [11, 12, 13, 14]


def explain_by(classifier):
    def explain(images, classes, seeds):
        return resize_maps(gradcam.grad_cam(classifier, images, classes), (19, 23))

    return explain


def of(measure, classifier, images, maps, classes, seeds, batch_size=64):
    """A measure of these images, whatever it needs."""
    given = {"classifier": classifier, "images": images, "maps": maps, "classes": classes, "seeds": seeds}
    given |= {"batch_size": batch_size, "explain": explain_by(classifier)}
    return MEASURES[measure](**given)[:, 0]


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def test_deletion_of_a_linear_model_by_hand():
    """Pixels of 1 become .5 in the order of the map, 4, 3, 2, 1: w x falls from 10 by half of each weight."""
    model, image = linear([[4, 3], [2, 1]]), torch.ones(1, 1, 2, 2, dtype=torch.float64)
    scores = [sigmoid(value) for value in (10, 8, 6.5, 5.5, 5)]
    expected = sum((first + second) / 2 for first, second in pairwise(scores)) / 4
    value = faithfulness.deletion(model, image, torch.tensor([[[4.0, 3], [2, 1]]]), torch.tensor([0]))
    assert value.item() == pytest.approx(expected, abs=1e-12)
    other = faithfulness.deletion(model, image, torch.tensor([[[1.0, 2], [3, 4]]]), torch.tensor([0]))
    assert other > value  # hiding the least first keeps the class longer


def test_insertion_shows_the_highest_first_and_ties_by_index():
    """An image of one white pixel; blurred it is the kernel, whose outermost pixels go on beyond the frame."""
    model, image = linear([[3, 0, -1]]), torch.tensor([[[[1.0, 0, 0]]]], dtype=torch.float64)
    blurred = faithfulness.blurred(image)[0, 0, 0].numpy()
    np.testing.assert_allclose(blurred, gaussian_filter1d([1.0, 0, 0], 5, mode="nearest", radius=5), atol=1e-12)
    states = [blurred, [1, blurred[1], blurred[2]], [1, 0, blurred[2]], [1, 0, 0]]  # the tie of the first two: 0, 1
    scores = [sigmoid(3 * state[0] - state[2]) for state in states]
    expected = sum((first + second) / 2 for first, second in pairwise(scores)) / 3
    value = faithfulness.insertion(model, image, torch.tensor([[[5.0, 5, 1]]]), torch.tensor([0]))
    assert value.item() == pytest.approx(expected, abs=1e-12)


def test_blurred_images_equal_scipys():
    images = torch.rand(2, 3, 20, 30, dtype=torch.float64)
    expected = [
        [gaussian_filter(channel, 5, mode="nearest", radius=5) for channel in image] for image in images.numpy()
    ]
    np.testing.assert_allclose(faithfulness.blurred(images).numpy(), expected, atol=1e-12)


def test_insertion_and_deletion_equal_a_loop_over_pixels(seen):
    """Independent: one pass a step, pixels by numpy's stable sort, the area by numpy's trapezoids."""
    classifier, images, maps, classes, _ = seen
    for measure, hidden in (("insertion", faithfulness.blurred(images)), ("deletion", torch.full_like(images, 0.5))):
        for number, image in enumerate(images):
            order = np.argsort(-maps[number].numpy().ravel(), kind="stable")
            start, end = (hidden[number], image) if measure == "insertion" else (image, hidden[number])
            state, scores = start.clone().flatten(1), []
            for step in range(29):
                done = order[: -(-step * order.size // 28)]
                state[:, done] = end.flatten(1)[:, done]
                with torch.no_grad():
                    scores.append(classifier(state.view(1, *image.shape)).softmax(1)[0, classes[number]].item())
            assert of(measure, *seen)[number].item() == pytest.approx(np.trapezoid(scores, dx=1 / 28), abs=1e-10)


def test_deletion_equals_quantus_pixel_flipping():
    """Whose curve begins behind the first step, so that the score of the whole image is put before it."""
    quantus = pytest.importorskip("quantus", reason="needs quantus, which no extra installs")
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 12 * 18, 5))
    network.input_size = (14, 20)
    classifier = Classifier(network).eval()
    images, maps = torch.rand(3, 1, 14, 20), torch.randn(3, 14, 20)
    classes = torch.tensor([0, 3, 4])
    metric = quantus.PixelFlipping(
        features_in_step=10, perturb_baseline=0.5, normalise=False, disable_warnings=True
    )  # 28 steps
    curves = metric(classifier, images.numpy(), classes.numpy(), maps[:, None].numpy(), device="cpu")
    with torch.no_grad():
        whole = classifier(images).softmax(1).gather(1, classes[:, None]).numpy()
    expected = np.trapezoid(np.concatenate([whole, np.array(curves)], 1), dx=1 / 28)
    np.testing.assert_allclose(faithfulness.deletion(classifier, images, maps, classes).numpy(), expected, atol=1e-6)


def test_drop_and_increase_of_a_linear_model_by_hand():
    model, image = linear([[2, -1]]), torch.ones(1, 1, 1, 2, dtype=torch.float64)
    half = torch.tensor([[[1.0, 2.0]]])  # m = 1/2, 1: w x falls from 1 to 0
    drop = faithfulness.average_drop(model, image, half, torch.tensor([0]))
    assert drop.item() == pytest.approx((sigmoid(1) - sigmoid(0)) / sigmoid(1), abs=1e-12)
    assert faithfulness.increase(model, image, half, torch.tensor([0])).tolist() == [0]
    good = torch.tensor([[[3.0, -3.0]]])  # m = 1, 0: w x rises to 2
    assert faithfulness.average_drop(model, image, good, torch.tensor([0])).tolist() == [0]
    assert faithfulness.increase(model, image, good, torch.tensor([0])).tolist() == [1]


def test_a_map_without_positive_values_has_no_drop_and_no_increase(seen):
    classifier, images, maps, classes, seeds = seen
    negative = maps - maps.amax((1, 2), keepdim=True)
    for measure in ("average-drop", "increase"):
        assert of(measure, classifier, images, negative, classes, seeds).isnan().all()
    assert not of("deletion", classifier, images, negative, classes, seeds).isnan().any()


def test_drop_and_increase_equal_grad_cams_package(batch):
    """Which multiplies what the network is given: a network that takes pixels as they are."""
    images = batch[0]
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 17 * 21, 5))
    network.input_size = (19, 23)
    classifier = Classifier(network).double().eval()
    with torch.no_grad():
        order = classifier(images).argsort(dim=1)
    classes = torch.cat([order[:2, 0], order[2:, -1]])  # the least and the most likely, which black makes rise and fall
    maps = torch.randn(4, 19, 23, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    masks, targets = normalize_max(maps).numpy(), [ClassifierOutputSoftmaxTarget(int(class_)) for class_ in classes]
    masks = masks[:, None]
    with torch.no_grad():
        scores = classifier(images).softmax(1).gather(1, classes[:, None])[:, 0].numpy()
    drop = DropInConfidence()(images, masks, targets, classifier) / scores
    ours = faithfulness.average_drop(classifier, images, maps, classes)
    np.testing.assert_allclose(ours.numpy(), drop, atol=1e-6)
    rise = faithfulness.increase(classifier, images, maps, classes).numpy()
    assert np.array_equal(rise, IncreaseInConfidence()(images, masks, targets, classifier))
    assert 0 < rise.sum() < 4


def test_pixels_are_filled_in_by_hand():
    """Two removed pixels of a row: each is the mean of both sides, weights 1/6, so that they are a third and two."""
    image = torch.tensor([[[0.0, 9.0, 9.0, 3.0]]])
    removed = torch.tensor([[False, True, True, False]])
    assert road.filled_in(image, removed).tolist() == [[[0, pytest.approx(1), pytest.approx(2), 3]]]


def test_filled_in_pixels_equal_grad_cams_imputer():
    image = torch.rand(3, 19, 23, generator=torch.Generator().manual_seed(0))
    removed = torch.rand(19, 23, generator=torch.Generator().manual_seed(1)) < 0.7
    theirs = NoisyLinearImputer(noise=0)(image, (~removed).float())
    assert torch.allclose(road.filled_in(image, removed), theirs, atol=1e-6)


def test_nothing_or_all_removed_leaves_the_image():
    image = torch.rand(3, 4, 5)
    for removed in (torch.zeros(4, 5).bool(), torch.ones(4, 5).bool()):
        assert torch.equal(road.filled_in(image, removed), image)


def test_road_equals_grad_cams_package(seen, monkeypatch):
    """Of maps without equal values, of which it removes none where one would be too many."""
    classifier, images, maps, classes, seeds = seen
    maps = maps + 0.01 * torch.rand(maps.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    monkeypatch.setattr(grad_cam_road.torch, "randn_like", torch.zeros_like)
    targets = [ClassifierOutputSoftmaxTarget(int(class_)) for class_ in classes]
    theirs = ROADCombined(list(road.KEPT))(images.float(), maps.numpy(), targets, lambda x: classifier(x.double()))
    ours = road.road(classifier, images, maps, classes, seeds, noise=0)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)
    assert np.abs(theirs).max() > 1e-3
    noisy = road.road(classifier, images, maps, classes, seeds)
    assert not torch.equal(noisy, ours)
    assert torch.allclose(noisy, ours, atol=0.05)


def test_road_of_a_linear_model_by_hand():
    """Of 1 x 6 pixels KEPT keeps 1, 2, 3, 4; what goes is filled in from what stays, linearly between two."""
    model, maps = linear([[1, 0, 0, 0, 0, 2]]), torch.arange(6.0).view(1, 1, 6)
    image = torch.tensor([[[[0.0, 1, 2, 3, 4, 10]]]], dtype=torch.float64)
    most = [sigmoid(first + 2 * last) for first, last in ((0, 0), (0, 1), (0, 2), (0, 3))]  # the last kept goes on
    least = [sigmoid(first + 20) for first in (10, 4, 3, 2)]
    expected = (np.mean(least) - np.mean(most)) / 2
    value = road.road(model, image, maps, torch.tensor([0]), [0], noise=0)
    assert value.item() == pytest.approx(expected, abs=1e-9)


def test_infidelity_of_a_linear_model_by_hand():
    """On white, a square hides half of its weights' sum; the map of the weights says so but for the sigmoid's bend."""
    weights = torch.tensor(np.random.default_rng(0).normal(size=(16, 16)))
    model, image = linear(weights.tolist()), torch.ones(1, 1, 16, 16, dtype=torch.float64)
    boxes = perturbed.squares(5, 16, 16)
    inside = torch.stack([mask_of(box[None], 16, 16) for box in boxes])
    sums = (inside * weights).sum((1, 2))
    whole = weights.sum()
    drops = torch.sigmoid(whole) - torch.sigmoid(whole - sums / 2)
    beta = (sums * drops).mean() / sums.square().mean()
    value = perturbed.infidelity(model, image, weights[None], torch.tensor([0]), [5])
    assert value.item() == pytest.approx((beta * sums - drops).square().mean().item(), abs=1e-9)
    assert perturbed.infidelity(model, image, 7 * weights[None], torch.tensor([0]), [5]).item() == pytest.approx(
        value.item(), abs=1e-9
    )


def test_squares_lie_within_the_image_and_have_sides_of_an_eighth_to_a_half():
    boxes = torch.cat([perturbed.squares(seed, 40, 64) for seed in range(20)])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert torch.equal(sides[:, 0], sides[:, 1])
    assert (sides.min().item(), sides.max().item()) == (5, 20)
    assert boxes.min() == 0
    assert boxes[:, 2].max() == 64
    assert boxes[:, 3].max() == 40


def test_infidelity_equals_captum_called_bare(seen):
    classifier, images, maps, classes, seeds = seen
    for number, seed in enumerate(seeds):
        areas = torch.stack([mask_of(box[None], 19, 23) for box in perturbed.squares(seed, 19, 23)])[:, None]

        def perturb(copies, areas=areas):
            return areas.double().expand_as(copies), torch.where(areas, 0.5, copies)

        expected = captum_infidelity(
            lambda copies: classifier(copies).softmax(1),
            perturb,
            images[number : number + 1],
            maps[number].expand(1, 3, -1, -1) / 3,
            target=int(classes[number]),
            n_perturb_samples=perturbed.SQUARES,
            normalize=True,
        )
        assert perturbed.infidelity(*seen)[number].item() == pytest.approx(expected.item(), rel=1e-9)


def test_max_sensitivity_by_hand_and_by_captum(seen):
    classifier, images, maps, classes, seeds = seen
    ours = perturbed.max_sensitivity(images, maps, classes, explain_by(classifier), seeds, 7)
    for number, seed in enumerate(seeds):
        draw = torch.Generator().manual_seed(seed)
        noise = torch.stack([torch.rand(3, 19, 23, generator=draw) for _ in range(perturbed.NEAR)])
        near = (images[number] + 0.02 * (2 * noise.double() - 1)).clamp(0, 1)
        moved = explain_by(classifier)(near, classes[number].expand(len(near)), None) - maps[number]
        by_hand = max(part.norm() for part in moved) / maps[number].norm()
        assert ours[number].item() == pytest.approx(by_hand.item(), rel=1e-9)

        def by_repeated(copies, number=number):
            class_ = classes[number].expand(10)
            if isinstance(copies, tuple):
                return (explain_by(classifier)(copies[0], class_[:1], None),)
            return explain_by(classifier)(copies, class_, None)

        by_captum = sensitivity_max(
            by_repeated, images[number : number + 1], perturb_func=partial(lambda near, _: near, near)
        )
        assert ours[number].item() == pytest.approx(by_captum.item(), rel=1e-9)


@pytest.mark.parametrize("measure", NAMES)
def test_batch_and_company_change_nothing_and_a_constant_map_has_no_value(seen, measure):
    classifier, images, maps, classes, seeds = seen
    maps = maps.clone()
    maps[2] = 1.0
    together = of(measure, classifier, images, maps, classes, seeds)
    assert together.dtype == torch.float64
    assert together.isnan().tolist() == [False, False, True, False]
    spec, values = MEASURES[measure], together[~together.isnan()]
    assert (values >= spec.low).all()
    assert spec.high is None or (values <= spec.high).all()
    assert torch.allclose(of(measure, classifier, images, maps, classes, seeds, 3), together, atol=1e-9, equal_nan=True)
    alone = of(measure, classifier, images[3:], maps[3:], classes[3:], seeds[3:])
    assert torch.allclose(alone, together[3:], atol=1e-9)


def test_memory_that_runs_out_halves_the_passes(seen, monkeypatch):
    classifier = seen[0]
    expected = {measure: of(measure, *seen) for measure in NAMES}
    forward = classifier.logits

    def narrow(copies):
        if len(copies) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(copies)

    monkeypatch.setattr(classifier, "logits", narrow)
    for measure, value in expected.items():
        assert torch.allclose(of(measure, *seen), value, atol=1e-9), measure
