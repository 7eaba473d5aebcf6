"""Score-CAM and Ablation-CAM: by hand, in plain loops, against grad-cam and torch-cam, and what they leave alone."""

from functools import partial

import layout_networks as networks
import pytest
import torch
import torch.nn.functional as F
from pytorch_grad_cam import AblationCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import ScoreCAM as TorchcamScoreCAM

from attnlab.attention import METHODS
from attnlab.attention.gradcam import logits_and_maps
from attnlab.attention.masked_inference import NotFinite
from attnlab.attention.model_pass import ModelPass
from attnlab.hooks import find_layer, frozen_eval
from attnlab.models import Classifier

CLASSES = torch.tensor([1, 8, 4])
#: as in test_cams
NETWORKS = {
    "closed form": (networks.Convolutions, "features"),
    "convolutions": (networks.convolutional_head, "features"),
    "bent": (networks.bent, "features"),
    "channels-last": (networks.hidden_head, "norm"),
    "tokens": (networks.three_before, "blocks.layers.1.norm1"),
}


def noise(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 16, 24, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def classifier_of(name: str) -> Classifier:
    make, layer = NETWORKS[name]
    module = make()
    module.mean, module.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    classifier = Classifier(module, layer).double().eval()
    assert (classifier.head is not None) == (name == "closed form")
    return classifier


def maps_of(classifier: Classifier, images: Tensor, method: str, batch_size: int = 64) -> Tensor:
    def maps(seen: ModelPass) -> Tensor:
        own = ModelPass(*(getattr(seen, name) for name in FIELDS), batch_size=batch_size)
        return METHODS[method].maps(own)

    with frozen_eval(classifier):
        return logits_and_maps(classifier, images, CLASSES[: len(images)], detach_input=True, method=maps)[1]


FIELDS = ("classifier", "images", "logits", "activations", "classes")


def run_with(classifier: Classifier, change, image: Tensor) -> Tensor:
    """Logits of an image, (K,), whose attention layer's output, as (C, h, w), is changed in place."""

    def hook(_module, _inputs, output: Tensor) -> Tensor:
        output = output.clone()
        change(classifier.spatial(output)[0])
        return output

    handle = find_layer(classifier.network, classifier.attention_layer).register_forward_hook(hook)
    with torch.no_grad():
        logits = classifier(image[None])[0]
    handle.remove()
    return logits


def features_of(classifier: Classifier, image: Tensor) -> Tensor:
    kept = []
    run_with(classifier, lambda values: kept.append(values.clone()), image)
    return kept[0]


# ------------------------------------------------------------------ Score-CAM


class Cells(nn.Module):
    """Two channels of cells, the image's own; the logits are sums of the cells of one."""

    input_size = (4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 1, bias=False)
        self.layer.weight.data = torch.eye(2)[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).square().sum((2, 3))


def test_score_cam_of_two_channels_computed_by_hand():
    """Masks are the channels over their maximum; class 0 sums the squares of channel 0 times the mask."""
    image = torch.zeros(1, 2, 4, 4)
    image[0, 0, 0, :2] = torch.tensor([1.0, 0.5])
    image[0, 1, 0, 1] = 0.5
    classifier = Classifier(Cells(), "layer").eval()
    with frozen_eval(classifier):
        maps = logits_and_maps(classifier, image, torch.tensor([0]), method=METHODS["score-cam"].maps)[1]
    # by channel 0's own mask, (1, .5): 1 + .25^2; by channel 1's, (0, 1): .5^2
    weights = torch.tensor([1 + 0.25**2, 0.5**2]).softmax(0)
    torch.testing.assert_close(maps[0], (weights[:, None, None] * image[0]).sum(0))


@pytest.mark.parametrize("name", NETWORKS)
def test_score_cam_equals_grad_cams_with_corners_not_aligned(name, monkeypatch):
    classifier, images = classifier_of(name), noise()
    enlarge = partial(F.interpolate, mode="bilinear", align_corners=False)
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", lambda size: partial(enlarge, size=tuple(size)))
    layer = find_layer(classifier.network, classifier.attention_layer)
    inputs = classifier.normalise(images)
    targets = [ClassifierOutputTarget(label) for label in CLASSES.tolist()]
    with ScoreCAM(classifier.network, [layer], reshape_transform=classifier.spatial) as cam:
        features = torch.stack([features_of(classifier, image) for image in images]).numpy()
        theirs = torch.from_numpy(cam.get_cam_image(inputs, layer, targets, features, None))
    ours = maps_of(classifier, images, "score-cam")
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-5, atol=1e-5 * ours.abs().max().item())


class Fine(nn.Module):
    """A map as large as the image."""

    input_size = (16, 24)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.features, self.fc = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh()), nn.Linear(5, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).amax((2, 3)))


def test_score_cam_equals_torch_cams_where_the_map_is_as_large_as_the_image():
    classifier, images = Classifier(Fine(), "features").double().eval(), noise()
    with TorchcamScoreCAM(classifier.network, "features") as extractor, torch.no_grad():
        classifier.network(classifier.normalise(images))
        (theirs,) = extractor(CLASSES.tolist(), normalized=False)
    ours = maps_of(classifier, images, "score-cam")
    assert theirs.any()
    torch.testing.assert_close(ours.relu(), theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_score_cam_does_not_depend_on_the_batch_size_nor_on_neighbours(batch_size):
    classifier, images = classifier_of("convolutions"), noise()
    expected = maps_of(classifier, images, "score-cam")
    torch.testing.assert_close(maps_of(classifier, images, "score-cam", batch_size), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(maps_of(classifier, images[:1], "score-cam"), expected[:1], rtol=1e-10, atol=1e-12)


def test_one_pass_of_score_cam_stands_for_all_channels_that_a_relu_has_shut(monkeypatch):
    classifier, images = classifier_of("closed form"), noise(2)
    norm = classifier.network.features[3]
    norm.bias.data[:4], norm.weight.data[:4] = -1, 0  # behind the ReLU four channels of 0
    expected = maps_of(classifier, images, "score-cam")
    asked = []
    infer = classifier.infer
    monkeypatch.setattr(classifier, "infer", lambda inputs: asked.append(len(inputs)) or infer(inputs))
    assert torch.equal(maps_of(classifier, images, "score-cam"), expected)
    assert sum(asked) == 2 * (12 - 4 + 1)


# ------------------------------------------------------------------ Ablation-CAM


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch_size", [3, 64])
def test_ablation_cam_equals_its_definition_in_plain_loops(name, batch_size):
    classifier, images = classifier_of(name), noise()
    expected = []
    for image, label in zip(images, CLASSES, strict=True):
        features, whole = features_of(classifier, image), classifier(image[None])[0, label].detach()
        drops = []
        for channel in range(len(features)):
            drops.append(whole - run_with(classifier, lambda values, at=channel: values[at].zero_(), image)[label])
        expected.append((torch.stack(drops)[:, None, None] * features).sum(0))
    ours = maps_of(classifier, images, "ablation-cam", batch_size)
    torch.testing.assert_close(ours, torch.stack(expected), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["closed form", "bent"])
def test_ablation_cam_equals_grad_cams_times_the_logit(name):
    classifier, images = classifier_of(name), noise()
    layer = find_layer(classifier.network, classifier.attention_layer)
    targets = [ClassifierOutputTarget(label) for label in CLASSES.tolist()]
    with AblationCAM(classifier.network, [layer]) as cam:
        features = torch.stack([features_of(classifier, image) for image in images]).numpy()
        assert features.min() == 0  # else grad-cam ablates otherwise
        theirs = cam.get_cam_image(classifier.normalise(images), layer, targets, features, None)
    logits = classifier(images).detach()[range(3), CLASSES]
    assert (logits < 0).any()
    expected = torch.from_numpy(theirs).double() * logits[:, None, None]
    ours = maps_of(classifier, images, "ablation-cam")
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5 * ours.abs().max().item())


class Joined(nn.Module):
    """A network that joins the layer's output to what lies before it, as DenseNet does, or counts images before it."""

    input_size = (16, 24)

    def __init__(self, *, counts: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.counts = counts
        self.first, self.features = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 8, 1)
        self.fc = nn.Linear(8 if counts else 14, 10)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.features(first).relu()
        if self.counts:
            return self.fc(second.amax((2, 3))) * len(first) / len(second)
        return self.fc(torch.cat([first, second], 1).amax((2, 3)))


@pytest.mark.parametrize("counts", [True, False])
def test_where_one_pass_before_the_layer_does_not_serve_all_channels_the_whole_network_runs(counts, monkeypatch):
    classifier, images = Classifier(Joined(counts=counts), "features").double().eval(), noise()
    asked = count_images(classifier, monkeypatch)
    ours = maps_of(classifier, images, "ablation-cam")
    assert asked[-3:] == [8, 8, 8]
    for image, label, own in zip(images, CLASSES, ours, strict=True):
        features, whole = features_of(classifier, image), classifier(image[None])[0, label].detach()
        drops = [
            whole - run_with(classifier, lambda values, at=at: values[at].zero_(), image)[label] for at in range(8)
        ]
        torch.testing.assert_close(own, (torch.stack(drops)[:, None, None] * features).sum(0))


def count_images(classifier: Classifier, monkeypatch) -> list[int]:
    """How many images each pass of the network gets from now on."""
    asked: list[int] = []
    logits = classifier.logits
    monkeypatch.setattr(classifier, "logits", lambda inputs, *rows: asked.append(len(inputs)) or logits(inputs, *rows))
    return asked


def test_one_pass_before_the_layer_serves_all_channels_of_an_image(monkeypatch):
    classifier = classifier_of("tokens")
    asked = count_images(classifier, monkeypatch)
    maps_of(classifier, noise(), "ablation-cam")
    assert asked[-3:] == [1, 1, 1]


def test_a_closed_form_takes_no_pass(monkeypatch):
    classifier = classifier_of("closed form")
    asked = count_images(classifier, monkeypatch)
    maps_of(classifier, noise(), "ablation-cam")
    assert len(asked) == 1


class Reused(nn.Module):
    """One ReLU behind both convolutions."""

    input_size = (16, 24)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second, self.relu = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 1), nn.ReLU()
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.second(self.relu(self.first(x)))).amax((2, 3)))


def test_of_a_layer_that_runs_twice_the_last_output_is_ablated():
    classifier, images = Classifier(Reused(), "relu").double().eval(), noise(1)
    network = classifier.network
    features = network.second(network.first(images).relu()).relu().detach()[0]
    without = features.expand(8, -1, -1, -1).clone()
    without[range(8), range(8)] = 0
    logits = [network.fc(values.amax((-2, -1)))[..., 1].detach() for values in (features, without)]
    expected = ((logits[0] - logits[1])[:, None, None] * features).sum(0)
    assert expected.abs().max() > 0
    torch.testing.assert_close(maps_of(classifier, images, "ablation-cam")[0], expected)


# ------------------------------------------------------------------ both


@pytest.mark.parametrize("method", ["score-cam", "ablation-cam"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_classifier_is_given_back_as_it_was(name, method):
    classifier = classifier_of(name)
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    maps = maps_of(classifier, noise(), method)
    assert not maps.requires_grad
    assert not any(module._forward_hooks for module in classifier.modules())
    assert all(torch.equal(value, before[key]) for key, value in classifier.state_dict().items())


@pytest.mark.parametrize("method", ["score-cam", "ablation-cam"])
def test_batches_are_halved_where_memory_runs_out(method, monkeypatch):
    classifier, images = classifier_of("channels-last"), noise()
    expected = maps_of(classifier, images, method)
    fc = classifier.network.fc
    forward = fc.forward

    def short(values: Tensor) -> Tensor:
        if len(values) > 4:
            raise RuntimeError("CUDA out of memory")
        return forward(values)

    monkeypatch.setattr(fc, "forward", short)
    torch.testing.assert_close(maps_of(classifier, images, method), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("method", "answer"), [("score-cam", 1), ("ablation-cam", 3)])
def test_a_model_that_gives_nan_for_a_perturbed_image_is_named(method, answer, monkeypatch):
    """The first pass of score-cam, the third of ablation-cam, behind its two of trying out."""
    classifier, images = classifier_of("channels-last"), noise()
    fc, answers = classifier.network.fc, []
    forward = fc.forward

    def broken(values: Tensor) -> Tensor:
        answers.append(values)
        return forward(values) * (torch.nan if len(answers) > answer else 1)

    monkeypatch.setattr(fc, "forward", broken)
    with pytest.raises(NotFinite, match="NaN for a perturbed copy of image 0"):
        maps_of(classifier, images, method)
