"""Grad-CAM against captum, against its own definition, and against itself."""

import copy
from functools import cache

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor

from attnlab.attention.gradcam import grad_cam, logits_and_maps
from attnlab.compat import torchvision
from attnlab.errors import UserError
from attnlab.hooks import find_layer
from attnlab.models import Classifier, load_model

#: the side of images for large networks: InceptionV3's map has four cells
SIDE = 128


@cache
def loaded(name: str) -> Classifier:
    """A network that several tests look at; those that change it take a copy."""
    if name == "resnet8":
        return load_model(name)
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "inception_v3" else {}
    return Classifier(torchvision.models.get_model(name, weights=None, **options).eval(), input_size=SIDE)


def noise(classifier: Classifier, seed: int) -> Tensor:
    return torch.rand(2, 3, *classifier.input_size, generator=torch.Generator().manual_seed(seed))


def captum_map(classifier, images, classes):
    layer = find_layer(classifier.network, classifier.attention_layer)
    attributions = LayerGradCam(classifier, layer).attribute(images, target=classes, relu_attributions=False)
    return attributions.detach()[:, 0]


def without_closed_form(classifier: Classifier) -> Classifier:
    classifier.head = None
    return classifier


@pytest.mark.parametrize("name", ["resnet50", "inception_v3", "squeezenet1_1", "densenet121", "resnet8"])
def test_grad_cam_equals_captum(name):
    classifier = loaded(name)
    images = noise(classifier, 0)
    classes = torch.tensor([3, 7])
    expected = captum_map(classifier, images, classes)
    assert expected.abs().max() > 0
    torch.testing.assert_close(
        grad_cam(classifier, images, classes), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item()
    )


def test_grad_cam_equals_captum_on_real_weights_and_photographs(shared):
    from attnlab.data import load_dataset
    from attnlab.data.resizing import ResizedDataset

    classifier = load_model(f"{shared}/weights/mobilenet_v2_tf.py:build")
    prepared = ResizedDataset(load_dataset("imagenet", shared / "imagenet-val"), classifier.input_size)
    images = torch.stack([prepared[position].pixels for position in range(3)]).float() / 255
    classes = torch.tensor([prepared[position].label for position in range(3)])
    maps = grad_cam(classifier, images, classes)
    torch.testing.assert_close(maps, captum_map(classifier, images, classes), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet50", "inception_v3", "resnet8"])
def test_closed_form_equals_generic_path(name):
    classifier = copy.deepcopy(loaded(name)).double()
    images = noise(classifier, 1).double()
    classes = torch.tensor([0, 9])
    assert classifier.head is not None
    closed = grad_cam(classifier, images, classes)
    generic = grad_cam(without_closed_form(classifier), images, classes)
    torch.testing.assert_close(closed, generic, rtol=1e-8, atol=1e-8)


def test_logits_and_maps_are_those_of_the_prediction_from_one_pass(either):
    images = torch.rand(3, 3, 19, 23, dtype=torch.float64).requires_grad_()
    passes = []
    handle = either.network.register_forward_hook(lambda *_: passes.append(1))
    logits, maps = logits_and_maps(either, images, None)
    handle.remove()
    assert len(passes) == 1
    assert torch.equal(logits, either(images))
    assert torch.equal(maps, grad_cam(either, images, logits.argmax(1)))
    assert not maps.requires_grad
    logits.sum().backward()
    assert images.grad.abs().sum() > 0


def test_logits_of_a_detached_input_have_a_graph_that_ends_at_the_layer(either):
    images = torch.rand(3, 3, 19, 23, dtype=torch.float64).requires_grad_()
    logits, maps = logits_and_maps(either, images, torch.tensor([0, 1, 2]), detach_input=True)
    assert torch.equal(maps, grad_cam(either, images, torch.tensor([0, 1, 2])))
    assert torch.autograd.grad(logits.sum(), images, allow_unused=True) == (None,)


def test_grad_cam_equals_its_definition_in_plain_loops(small):
    images = torch.rand(2, 3, 19, 23, dtype=torch.float64)
    network = small.network
    for image, class_, map_ in zip(images, (1, 4), grad_cam(small, images, torch.tensor([1, 4])), strict=True):
        activations = torch.relu(network.first((image[None] - small.mean) / small.std))
        activations = network.second(activations).detach().requires_grad_()
        logits = network.last(torch.tanh(network.hidden(torch.relu(activations).mean((2, 3)))))
        logits[0, class_].backward()
        expected = sum(g.mean() * a for g, a in zip(activations.grad[0], activations[0], strict=True))
        torch.testing.assert_close(map_, expected.detach())


def test_a_layer_before_an_in_place_relu_is_seen_as_it_was(small):
    assert small.attention_layer == "second"
    assert grad_cam(small, torch.rand(4, 3, 19, 23).double(), torch.zeros(4, dtype=torch.long)).min() < 0


@torch.no_grad()
def test_a_caller_that_keeps_no_gradients_gets_the_same_map(either, batch):
    images, _, labels = batch
    ours = grad_cam(either, images, labels)
    with torch.enable_grad():
        assert torch.equal(ours, grad_cam(either, images, labels))


def test_map_of_an_image_does_not_depend_on_its_batch(resnet8, scenes_batch):
    images, labels = scenes_batch
    alone = torch.cat(
        [grad_cam(resnet8, image[None], label[None]) for image, label in zip(images, labels, strict=True)]
    )
    torch.testing.assert_close(grad_cam(resnet8, images, labels), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("closed", [True, False])
def test_classifier_is_given_back_as_it_was(resnet8, scenes_batch, closed):
    classifier = load_model("resnet8") if closed else without_closed_form(load_model("resnet8"))
    classifier.train()
    classifier.network.norm.eval()
    classifier.network.stem.weight.requires_grad_(False)
    flags = lambda: [(module.training, len(module._forward_hooks)) for module in classifier.modules()]  # noqa: E731
    before = flags()
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    grad_cam(classifier, *scenes_batch)
    assert flags() == before
    assert not classifier.network.stem.weight.requires_grad
    assert classifier.network.classifier.weight.requires_grad
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())


def test_classifier_is_given_back_as_it_was_when_an_image_does_not_fit():
    classifier = load_model("resnet8").train()
    with pytest.raises(RuntimeError):
        grad_cam(classifier, torch.rand(1, 5, 64, 64), torch.tensor([0]))
    assert classifier.network.stage3.training
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    assert not classifier.network.stage3._forward_hooks


def test_a_network_without_a_feature_map_needs_a_layer():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5))
    network.input_size = (8, 8)
    with pytest.raises(UserError, match="--layer"):
        grad_cam(Classifier(network), torch.rand(1, 3, 8, 8), torch.tensor([0]))


def test_a_layer_without_spatial_output_is_refused():
    with pytest.raises(UserError, match=r"\(N, C, h, w\)"):
        load_model("resnet8", layer="classifier")


def test_a_layer_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UserError, match=r"stage3\.conv9.*conv1, norm1"):
        load_model("resnet8", layer="stage3.conv9")
