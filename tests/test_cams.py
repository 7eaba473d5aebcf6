"""The CAMs of one pass: by hand, against grad-cam and torch-cam, and what holds of all of them."""

import layout_networks as networks
import pytest
import torch
from pytorch_grad_cam import EigenCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import LayerCAM as TorchcamLayerCAM
from torchcam.methods import XGradCAM as TorchcamXGradCAM

from attnlab.attention import METHODS
from attnlab.attention.gradcam import logits_and_maps
from attnlab.attention.model_pass import ModelPass
from attnlab.compat import torchvision
from attnlab.errors import UserError
from attnlab.hooks import find_layer, frozen_eval
from attnlab.models import Classifier

CAMS = ("grad-cam++", "layer-cam", "hires-cam", "xgrad-cam", "eigen-cam")
BY_GRADIENT = CAMS[:-1]


def tokens_as_map(values: Tensor) -> Tensor:
    return values[:, 1:].reshape(len(values), 4, 6, 16).permute(0, 3, 1, 2)


def vision_transformer() -> nn.Module:
    """torchvision's, of 4x4 patches behind a class token, with a head that is not zero."""
    torch.manual_seed(3)
    network = torchvision.models.VisionTransformer(
        16, 4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=10
    )
    nn.init.normal_(network.heads.head.weight)
    network.input_size = (16, 16)
    return network


#: a closed form, and none: convolutions, channels-last, two vision transformers; layer, its output as (N, C, h, w)
NETWORKS = {
    "closed form": (networks.Convolutions, "features", lambda values: values),
    "convolutions": (networks.convolutional_head, "features", lambda values: values),
    "channels-last": (networks.hidden_head, "norm", lambda values: values.permute(0, 3, 1, 2)),
    "tokens": (networks.tokens, "blocks.layers.1.norm1", tokens_as_map),
    "torchvision": (
        vision_transformer,
        "encoder.layers.encoder_layer_1.ln_1",
        lambda values: values[:, 1:].reshape(len(values), 4, 4, 16).permute(0, 3, 1, 2),
    ),
}


@pytest.fixture(params=NETWORKS)
def network(request) -> tuple[Classifier, nn.Module, object]:
    """A classifier in float64, its attention layer, and how that layer's output becomes (N, C, h, w)."""
    make, layer, spatial = NETWORKS[request.param]
    module = make()
    head = [each for each in module.modules() if isinstance(each, nn.Linear | nn.Conv2d)][-1]
    head.weight.data *= 1e5  # gradients beside whose squares the 1e-6 in grad-cam's Grad-CAM++ is nothing
    classifier = Classifier(module, layer).double().eval()
    assert (classifier.head is not None) == (request.param == "closed form")
    return classifier, find_layer(classifier.network, layer), spatial


def noise(count: int, size: tuple[int, int] = (16, 24)) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def maps_of(classifier: Classifier, images: Tensor, classes: Tensor, method: str) -> Tensor:
    with frozen_eval(classifier):
        return logits_and_maps(classifier, images, classes, detach_input=True, method=METHODS[method].maps)[1]


def unscaled(make, classifier: Classifier, layer: nn.Module, spatial, images: Tensor, classes: Tensor) -> Tensor:
    """A map of grad-cam's before its ReLU, its scaling and its enlargement."""
    with make(classifier, [layer], reshape_transform=spatial) as cam:
        targets = [ClassifierOutputTarget(label) for label in classes.tolist()]
        cam(images, targets)
        seen = cam.activations_and_grads
        activations = seen.activations[0].numpy()
        gradients = seen.gradients[0].numpy() if seen.gradients else None
        return torch.from_numpy(cam.get_cam_image(images, layer, targets, activations, gradients, False))


FEATURES = torch.tensor([[[[1.0, 2], [3, 4]], [[0.0, 2], [0, 0]]]])
GRADIENT = torch.tensor([[[[1.0, 0], [0, -1]], [[2.0, 2], [-4, 0]]]])


def seen_by_hand(features: Tensor = FEATURES, gradient: Tensor = GRADIENT) -> ModelPass:
    """A pass with these features and this gradient."""
    classifier = Classifier(networks.convolutional_head(), "features").eval()
    seen = ModelPass(classifier, noise(1), torch.zeros(1, 2), None, torch.tensor([1]))
    vars(seen).update({"features": features, "gradient": gradient, "weights": gradient.mean((2, 3))})
    return seen


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # sums 10 and 2; of channel 1 one positive gradient, 1: 1 / (2 + 10); of channel 2 two: 2 * 2 / (2 + 2 * 2)
        ("grad-cam++", [[1 / 12 + 0, 2 / 12 + 2 * 4 / 6], [3 / 12, 4 / 12]]),
        ("layer-cam", [[1 * 1 + 2 * 0, 0 * 2 + 2 * 2], [0.0, 0.0]]),
        ("hires-cam", [[1.0, 4.0], [0.0, -4.0]]),
        # channel 1: (1 - 4) / 10, channel 2: 4 / 2
        ("xgrad-cam", [[-0.3, -0.6 + 2 * 2], [-0.9, -1.2]]),
    ],
)
def test_maps_of_two_channels_of_four_cells_are_those_computed_by_hand(method, expected):
    maps = METHODS[method].maps(seen_by_hand())
    torch.testing.assert_close(maps, torch.tensor([expected]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_eigen_cam_of_one_pattern_in_two_channels_is_that_pattern_by_hand(sign):
    """A = a b^T with b of length 5 has the singular vector b / 5: A b / 5 = 5 a; the largest magnitude is positive."""
    pattern = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    features = sign * torch.stack([3 * pattern, 4 * pattern])[None]
    torch.testing.assert_close(METHODS["eigen-cam"].maps(seen_by_hand(features)), 5 * pattern[None])


def test_eigen_cam_of_fewer_channels_than_cells_and_of_more_is_numpys_singular_vector():
    generator = torch.Generator().manual_seed(0)
    for channels in (3, 40):
        features = torch.randn(2, channels, 3, 4, generator=generator, dtype=torch.float64) + 0.3
        maps = METHODS["eigen-cam"].maps(seen_by_hand(features))
        for own, values in zip(maps, features, strict=True):
            cells = values.flatten(1).T
            expected = cells @ torch.linalg.svd(cells).Vh[0]
            expected = expected * expected[expected.abs().argmax()].sign()
            torch.testing.assert_close(own.flatten(), expected)


def test_channels_that_a_relu_has_shut_leave_maps_finite_and_of_no_feature_they_are_zero():
    shut = FEATURES * torch.tensor([1.0, 0.0])[:, None, None]
    for method in CAMS:
        assert METHODS[method].maps(seen_by_hand(shut)).isfinite().all(), method
        assert not METHODS[method].maps(seen_by_hand(0 * FEATURES)).any(), method


@pytest.mark.parametrize("method", CAMS)
@pytest.mark.parametrize("channels", [2, 9])
def test_an_image_with_nan_has_a_map_of_nan_and_its_neighbour_none(method, channels):
    features = torch.rand(2, channels, 2, 2)
    features[0, 0, 0, 0] = torch.nan
    maps = METHODS[method].maps(seen_by_hand(features, torch.rand(2, channels, 2, 2)))
    assert maps[0].isnan().any()
    assert maps[1].isfinite().all()


@pytest.mark.parametrize(
    ("method", "reference"),
    [
        ("layer-cam", LayerCAM),
        ("hires-cam", HiResCAM),
        ("xgrad-cam", XGradCAM),
        ("grad-cam++", GradCAMPlusPlus),
    ],
)
def test_maps_equal_grad_cams(network, method, reference):
    classifier, layer, spatial = network
    images, classes = noise(3, classifier.input_size), torch.tensor([1, 8, 4])
    ours = maps_of(classifier, images, classes, method)
    theirs = unscaled(reference, classifier, layer, spatial, images, classes).double()
    assert ours.abs().max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


def test_eigen_cam_of_centred_features_is_grad_cams_but_for_the_sign(network):
    classifier, layer, spatial = network
    images, classes = noise(3, classifier.input_size), torch.tensor([1, 8, 4])
    theirs = unscaled(EigenCAM, classifier, layer, spatial, images, classes).double()
    with frozen_eval(classifier):
        captured: list[ModelPass] = []
        logits_and_maps(
            classifier, images, classes, detach_input=True, method=lambda seen: captured.append(seen) or seen.features
        )
        features = captured[0].features
        ours = METHODS["eigen-cam"].maps(seen_by_hand(features - features.mean((2, 3), keepdim=True)))
    sign = (ours * theirs).sum((1, 2), keepdim=True).sign()
    torch.testing.assert_close(ours, sign * theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("method", "make"), [("layer-cam", TorchcamLayerCAM), ("xgrad-cam", TorchcamXGradCAM)])
def test_maps_equal_torch_cams(network, method, make):
    classifier, layer, spatial = network
    images, classes = noise(3, classifier.input_size).requires_grad_(), torch.tensor([1, 8, 4])
    with make(classifier, layer, reshape_transform=spatial) as extractor:
        (theirs,) = extractor(classes.tolist(), classifier(images), normalized=False)
    ours = maps_of(classifier, images, classes, method)
    assert ours.relu().any()
    torch.testing.assert_close(ours.relu(), theirs.detach(), rtol=1e-6, atol=1e-6 * ours.abs().max().item())


@pytest.mark.parametrize("method", CAMS)
def test_maps_of_the_closed_form_are_those_of_the_backward_pass(method):
    classifier = Classifier(networks.Convolutions(), "features").double().eval()
    images, classes = noise(3), torch.tensor([1, 8, 4])
    closed = maps_of(classifier, images, classes, method)
    classifier.head = None
    torch.testing.assert_close(maps_of(classifier, images, classes, method), closed, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", CAMS)
def test_the_gradient_of_a_map_by_the_image_is_that_of_finite_differences(network, method):
    classifier, _, _ = network
    assert METHODS[method].differentiable
    image, classes = noise(1, classifier.input_size), torch.tensor([8])
    generator = torch.Generator().manual_seed(7)
    weights, way = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in (classifier.map_shape, image.shape)
    )

    def value(images: Tensor) -> Tensor:
        with frozen_eval(classifier):
            maps = logits_and_maps(classifier, images, classes, create_graph=True, method=METHODS[method].maps)[1]
        return (maps * weights).sum()

    (gradient,) = torch.autograd.grad(value(image.requires_grad_()), image)
    step = 1e-6 * way
    there, back = ((image + sign * step).detach().requires_grad_() for sign in (1, -1))
    difference = (value(there) - value(back)) / 2e-6
    torch.testing.assert_close((gradient * way).sum(), difference.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", CAMS)
def test_a_map_does_not_depend_on_its_neighbours_and_leaves_the_classifier_as_it_was(network, method):
    classifier, layer, _ = network
    images, classes = noise(3, classifier.input_size), torch.tensor([1, 8, 4])
    together = maps_of(classifier, images, classes, method)
    alone = torch.cat([maps_of(classifier, images[n : n + 1], classes[n : n + 1], method) for n in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-8, atol=1e-10)
    assert not together.requires_grad
    assert not layer._forward_hooks
    assert all(parameter.grad is None and parameter.requires_grad for parameter in classifier.parameters())


def test_eigen_cam_is_the_same_for_every_class_and_the_others_are_not(network):
    classifier = network[0]
    images = noise(3, classifier.input_size)
    one, other = (torch.full((3,), label) for label in (1, 8))
    for method in CAMS:
        maps = [maps_of(classifier, images, classes, method) for classes in (one, other)]
        assert torch.equal(*maps) == (method == "eigen-cam"), method


@pytest.mark.parametrize("method", CAMS)
def test_a_network_without_a_feature_map_needs_a_layer(method):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    network.input_size = (8, 8)
    with pytest.raises(UserError, match="--layer"):
        METHODS[method].check(Classifier(network))
