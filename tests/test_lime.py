"""LIME against lime 0.2.0.1 itself, by hand, and against itself in other batches."""

import numpy as np
import pytest
import torch
from lime.lime_image import LimeImageExplainer
from skimage import data
from skimage.transform import resize
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances

from attnlab.attention import lime
from attnlab.attention.lime import LimeSettings, explain, fit, perturbations, ridge, similarity
from attnlab.attention.masked_inference import MaskedInference, hidden_images
from attnlab.errors import UserError
from attnlab.models import load_model
from attnlab.seeding import seed_of
from attnlab.superpixels import SEGMENTERS, area, segmenting, strongest, superpixels

SAMPLES = 60


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """The cat that ships inside scikit-image, (64, 64, 3) in [0, 1]."""
    return resize(data.chelsea(), (64, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def segments(photograph) -> np.ndarray:
    return superpixels(photograph.transpose(2, 0, 1), "slic", 0)


def tensors(photograph, segments):
    image = torch.tensor(photograph).permute(2, 0, 1)[None]
    return image, torch.tensor(segments.astype(np.int64))[None]


class Fixed:
    """A random state that hands lime our perturbation matrix."""

    def __init__(self, rows):
        self.rows = rows

    def randint(self, *_args, **_options):
        return self.rows.numpy().astype(int).ravel()


def explained_by_lime(classifier, photograph, segments, shown, class_, hide):
    def probabilities(images):
        batch = torch.tensor(np.stack(images)).permute(0, 3, 1, 2).float()
        with torch.no_grad():
            return classifier(batch).softmax(1).double().numpy()

    explainer = LimeImageExplainer()
    explainer.random_state = Fixed(shown)
    return explainer.explain_instance(
        photograph,
        probabilities,
        labels=(class_,),
        top_labels=None,
        hide_color=0.5 if hide == "grey" else None,
        num_samples=len(shown),
        segmentation_fn=lambda _: segments.astype(np.int64),
        random_seed=0,
    )


@pytest.mark.parametrize("hide", ["grey", "mean"])
def test_weights_and_areas_equal_limes(resnet8, photograph, segments, hide):
    image, labels = tensors(photograph, segments)
    class_ = int(resnet8(image).argmax())
    shown = perturbations("chelsea", labels.max() + 1, SAMPLES, seed=0)
    theirs = explained_by_lime(resnet8, photograph, segments, shown, class_, hide)
    sampler = MaskedInference(resnet8, image, torch.tensor([class_]), labels, hide, batch_size=7)
    (ours,) = explain(sampler, [shown], LimeSettings(samples=SAMPLES, hide=hide))
    assert ours.samples == SAMPLES
    expected = dict(theirs.local_exp[class_])
    assert np.abs(list(expected.values())).max() > 1e-3
    np.testing.assert_allclose(ours.weights, [expected[number] for number in range(len(ours.weights))], atol=1e-6)
    order = np.argsort(-np.abs(ours.weights), kind="stable")
    assert order.tolist() == [number for number, _ in theirs.local_exp[class_]]
    for features in (3, 8, 10):
        _, mask = theirs.get_image_and_mask(class_, positive_only=False, num_features=features)
        assert np.array_equal(area(ours.weights, segments, features), mask == 1)


def test_weights_equal_limes_on_a_real_network_and_photograph(shared):
    classifier = load_model(f"{shared}/weights/mobilenet_v2_tf.py:build")
    photograph = resize(data.coffee(), (224, 224)).astype(np.float32)
    segments = superpixels(photograph.transpose(2, 0, 1), "quickshift", 0)
    image, labels = tensors(photograph, segments)
    class_ = int(classifier(image).argmax())
    shown = perturbations("coffee", labels.max() + 1, SAMPLES, seed=0)
    theirs = explained_by_lime(classifier, photograph, segments, shown, class_, "grey")
    sampler = MaskedInference(classifier, image, torch.tensor([class_]), labels, "grey", batch_size=10)
    (ours,) = explain(sampler, [shown], LimeSettings(samples=SAMPLES))
    expected = dict(theirs.local_exp[class_])
    np.testing.assert_allclose(ours.weights, [expected[number] for number in range(len(ours.weights))], atol=1e-6)


def test_ridge_equals_scikit_learns():
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 2, (3, 50, 12)).astype(float)
    values, weights = rng.normal(size=(3, 50)), rng.random((3, 50))
    ours = ridge(*map(torch.tensor, (shown, values, weights)))
    for fitted, x, y, w in zip(ours.numpy(), shown, values, weights, strict=True):
        np.testing.assert_allclose(fitted, Ridge(alpha=1).fit(x, y, sample_weight=w).coef_, atol=1e-12)


def test_images_with_other_numbers_of_superpixels_and_samples_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    shown = [torch.tensor(rng.integers(0, 2, shape)).bool() for shape in ((40, 9), (25, 14), (40, 1))]
    values = [torch.tensor(rng.random(len(rows))) for rows in shown]
    together = fit(shown, values)
    for rows, value, weights in zip(shown, values, together, strict=True):
        np.testing.assert_allclose(fit([rows], [value])[0], weights, atol=1e-12)


def test_distances_and_kernel_by_hand_and_by_scikit_learn():
    shown = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 1]])
    weights = similarity(shown[None], torch.tensor([4]))[0].numpy()
    distances = pairwise_distances(shown.numpy(), shown[:1].numpy(), metric="cosine").ravel()
    np.testing.assert_allclose(weights, np.sqrt(np.exp(-(distances**2) / 0.25**2)), atol=1e-12)
    assert weights[0] == 1
    assert weights[1] == pytest.approx(np.exp(-0.5 * (0.5 / 0.25) ** 2))  # cosine sqrt(1/4)
    assert weights[2] == pytest.approx(np.exp(-0.5 * (1 / 0.25) ** 2))  # all hidden: distance 1


def test_perturbations_are_the_images_own_and_begin_with_the_whole_image():
    many, few = perturbations("a", 30, 500, seed=1), perturbations("a", 30, 100, seed=1)
    assert many[0].all()
    assert 0.45 < many.float().mean() < 0.55
    assert torch.equal(many[:100], few)
    assert not torch.equal(few, perturbations("b", 30, 100, seed=1))
    assert not torch.equal(few, perturbations("a", 30, 100, seed=2))


@pytest.mark.parametrize("batch_size", [1, 13, 1000])
def test_batch_size_and_company_change_nothing(resnet8, scenes_batch, batch_size):
    images, classes = (part[:3] for part in scenes_batch)
    segments = np.stack([superpixels(image.numpy(), "quickshift", 0) for image in images])
    shown = [perturbations(str(number), int(labels.max()) + 1, 40, 0) for number, labels in enumerate(segments)]
    labels = torch.tensor(segments.astype(np.int64))
    settings = LimeSettings(samples=40)
    together = explain(MaskedInference(resnet8, images, classes, labels, "grey", batch_size), shown, settings)
    for number in (2, 0, 1):
        alone = MaskedInference(resnet8, *(part[number : number + 1] for part in (images, classes, labels)), "grey", 16)
        expected = explain(alone, shown[number : number + 1], settings)[0]
        np.testing.assert_allclose(together[number].weights, expected.weights, atol=1e-6)


def test_hidden_superpixels_show_grey_or_their_mean():
    image = torch.arange(12.0).view(1, 3, 2, 2) / 12
    labels = torch.tensor([[[0, 0], [1, 1]]])
    assert (hidden_images(image, labels, "grey") == 0.5).all()
    means = hidden_images(image, labels, "mean")
    np.testing.assert_allclose(means[0, 1], [[4.5 / 12] * 2, [6.5 / 12] * 2], rtol=1e-6)


def test_running_out_of_memory_halves_the_batch(resnet8, scenes_batch, monkeypatch):
    images, classes = (part[:1] for part in scenes_batch)
    labels = torch.tensor(superpixels(images[0].numpy(), "grid", 0).astype(np.int64))[None]
    shown = [perturbations("a", 64, 32, 0)]
    expected = explain(MaskedInference(resnet8, images, classes, labels, "grey", 4), shown, LimeSettings(samples=32))
    infer = type(resnet8).infer

    def small_device(self, normalised):
        if len(normalised) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return infer(self, normalised)

    monkeypatch.setattr(type(resnet8), "infer", small_device)
    sampler = MaskedInference(resnet8, images, classes, labels, "grey", 32)
    (ours,) = explain(sampler, shown, LimeSettings(samples=32))
    assert sampler.batch_size == 4
    np.testing.assert_allclose(ours.weights, expected[0].weights, atol=1e-7)


def test_auto_stops_when_the_areas_have_settled_and_never_beyond_the_fixed_number():
    """A model that is exactly linear in the superpixels settles at once; pure noise never does."""
    rng = np.random.default_rng(0)
    slopes = np.arange(1, 21) * np.resize([1, -1], 20)

    class Answers:
        classifier = torch.nn.Identity()

        def __init__(self, answer):
            self.answer = answer

        def __call__(self, asked):
            return [torch.tensor(self.answer(rows.numpy())) for _, rows in asked]

    shown = [perturbations("a", 20, 1000, 0)]
    (settled,) = explain(Answers(lambda rows: rows @ slopes), shown, LimeSettings(patience=3))
    assert settled.samples in range(4 * lime.BLOCK, 7 * lime.BLOCK, lime.BLOCK)
    (restless,) = explain(Answers(lambda rows: rng.normal(size=len(rows))), shown, LimeSettings(patience=3))
    assert restless.samples == 1000


@pytest.mark.parametrize("method", sorted(SEGMENTERS))
def test_labels_run_from_0_without_gaps(photograph, method):
    labels = superpixels(photograph.transpose(2, 0, 1), method, seed_of(0, "ILSVRC2012_val_00000001"))  # 64 bits
    assert labels.dtype == np.uint16
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() > 1


def test_a_constant_image_is_one_superpixel_or_a_grid_and_has_an_explanation(resnet8):
    image = torch.full((1, 3, 64, 64), 0.5)
    for method in SEGMENTERS:
        labels = superpixels(image[0].numpy(), method, 0)
        shown = [perturbations("a", int(labels.max()) + 1, 20, 0)]
        sampler = MaskedInference(
            resnet8, image, torch.tensor([0]), torch.tensor(labels.astype(np.int64))[None], "mean", 8
        )
        (ours,) = explain(sampler, shown, LimeSettings(samples=20))
        np.testing.assert_allclose(ours.weights, 0, atol=1e-6)


def test_more_features_than_superpixels_are_all_of_them():
    assert strongest(np.array([0.1, -0.3, 0.2]), 10).tolist() == [True, False, True]
    assert strongest(np.array([0.1, -0.3, 0.2]), 2).tolist() == [False, False, True]


def test_a_grey_image_is_cut_like_its_colour_twin():
    grey = np.random.default_rng(0).random((1, 20, 20))
    assert np.array_equal(superpixels(grey, "quickshift", 0), superpixels(np.repeat(grey, 3, 0), "quickshift", 0))


def test_worker_processes_cut_images_as_this_process_does(photograph):
    image = photograph.transpose(2, 0, 1)
    with segmenting(2) as cut:
        futures = [cut(image, "quickshift", seed) for seed in range(3)]
        for seed, future in enumerate(futures):
            assert np.array_equal(future.result(), superpixels(image, "quickshift", seed))


def test_nan_from_the_model_is_refused(resnet8, scenes_batch):
    images, classes = (part[:1] for part in scenes_batch)
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    sampler = MaskedInference(resnet8, torch.full_like(images, torch.nan), classes, labels, "grey", 8)
    with pytest.raises(UserError, match="NaN"):
        explain(sampler, [perturbations("a", 1, 4, 0)], LimeSettings(samples=4))


def test_settings_out_of_range_are_refused():
    with pytest.raises(UserError, match="did you mean 'quickshift'"):
        LimeSettings(superpixels="quikshift")
    with pytest.raises(UserError, match="grey, mean"):
        LimeSettings(hide="black")
    with pytest.raises(UserError, match="at least 2"):
        LimeSettings(samples=1)


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])
@pytest.mark.parametrize("layout", ["channels-last", "contiguous"])
def test_composed_images_show_each_superpixel_or_hide_it_to_the_bit(scenes_batch, precision, layout, monkeypatch):
    classifier = load_model("resnet8").place("cpu", precision, layout)
    images, classes = (part[:2] for part in scenes_batch)
    segments = torch.stack(
        [torch.from_numpy(superpixels(image.numpy(), "slic", 0).astype(np.int64)) for image in images]
    )
    shown = [perturbations(name, int(segments.max()) + 1, 6, 0) for name in "ab"]
    seen = []
    monkeypatch.setattr(classifier, "infer", lambda batch: seen.append(batch) or torch.zeros(len(batch), 10))
    MaskedInference(classifier, images, classes, segments, "mean", 5)([(0, shown[0]), (1, shown[1])])
    normal, hidden = (classifier.normalise(part) for part in (images, hidden_images(images, segments, "mean")))
    expected = [
        torch.where(rows[sample][segments[image]], normal[image], hidden[image])
        for image, rows in enumerate(shown)
        for sample in range(6)
    ]
    assert torch.equal(torch.cat(seen), torch.stack(expected))
    assert torch.cat(seen).is_contiguous(memory_format=classifier.memory_format)
