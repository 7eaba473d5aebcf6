"""Score-CAM: by hand, against grad-cam and torch-cam."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from perturbed_layers import CLASSES, NETWORKS, classifier_of, features_of, maps_of, noise
from pytorch_grad_cam import ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import ScoreCAM as TorchcamScoreCAM

from attnlab.attention import METHODS
from attnlab.attention.gradcam import logits_and_maps
from attnlab.hooks import find_layer, frozen_eval
from attnlab.models import Classifier


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
