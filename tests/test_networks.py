"""LeNet and ResNet9: what they are made of, where their attention is read, and how they are had."""

import pytest
import torch
import torch.nn.functional as F

from attnlab.attention.gradcam import grad_cam
from attnlab.errors import UserError
from attnlab.models import load_model
from attnlab.models.checkpoint import save_checkpoint


def noise(classifier, count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, classifier.channels, *classifier.input_size, generator=generator)


def test_lenet_is_20_50_500_10_on_pixels_as_they_are():
    classifier = load_model("lenet", "none")
    shapes = [tuple(parameter.shape) for parameter in classifier.parameters() if parameter.ndim > 1]
    assert shapes == [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)]
    images = noise(classifier)
    assert torch.equal(classifier.normalise(images), images)
    conv1, conv2, hidden, last = (
        classifier.network.get_submodule(n) for n in ("conv1", "conv2", "hidden", "classifier")
    )
    maps = F.relu(conv2(F.max_pool2d(F.relu(conv1(images)), 2)))
    expected = last(F.relu(hidden(F.max_pool2d(maps, 2).flatten(1))))
    torch.testing.assert_close(classifier(images), expected)


def test_lenets_pool_before_the_relu_changes_no_bit_of_values_and_gradients():
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, 24, 24, generator=draw).round(decimals=1).requires_grad_()  # ties, and windows below 0
    outputs = [F.relu(F.max_pool2d(features, 2)), F.max_pool2d(F.relu(features), 2)]
    weight = torch.randn(outputs[0].shape, generator=draw)
    gradients = [torch.autograd.grad((output * weight).sum(), features)[0] for output in outputs]
    assert torch.equal(*outputs)
    assert torch.equal(*gradients)


def test_resnet9_has_nine_layers_with_weights_and_a_cifar_normalisation():
    classifier = load_model("resnet9", "none")
    layers = [m for m in classifier.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 9
    assert sum(parameter.numel() for parameter in classifier.parameters()) < 6e6
    assert (classifier.channels, classifier.input_size, classifier.classes) == (3, (32, 32), 10)
    assert classifier.mean.flatten().tolist() == pytest.approx([0.4914, 0.4822, 0.4465])


@pytest.mark.parametrize(("name", "layer", "head"), [("lenet", "relu2", None), ("resnet9", "residual3", "classifier")])
def test_attention_is_read_off_the_last_8x8_maps_after_their_relu(name, layer, head):
    classifier = load_model(name, "none")
    assert (classifier.attention_layer, classifier.head, classifier.map_shape) == (layer, head, (8, 8))
    seen = []
    handle = classifier.network.get_submodule(layer).register_forward_hook(lambda *a: seen.append(a[2]))
    classifier(noise(classifier))
    handle.remove()
    assert seen[0].shape[2:] == (8, 8)
    assert seen[0].min() >= 0


def test_closed_form_of_resnet9_equals_the_generic_path():
    classifier = load_model("resnet9", "none").double()
    images, classes = noise(classifier).double(), torch.tensor([3, 7])
    closed = grad_cam(classifier, images, classes)
    classifier.head = None
    torch.testing.assert_close(closed, grad_cam(classifier, images, classes), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["lenet", "resnet9"])
def test_half_of_what_the_last_layer_reads_is_dropped_in_train_mode_and_nothing_in_eval_mode(name):
    classifier = load_model(name, "none")
    last = classifier.network.get_submodule("classifier")
    read = []
    handle = last.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    with torch.no_grad():
        classifier(noise(classifier, 16))
        classifier.network.dropout.train()
        classifier(noise(classifier, 16))
    handle.remove()
    whole, dropped = read
    kept = dropped[whole > 0] > 0
    assert kept.double().mean().item() == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(dropped[whole > 0][kept], 2 * whole[whole > 0][kept])


@pytest.mark.parametrize("name", ["lenet", "resnet9"])
def test_a_network_without_weights_of_its_own_says_how_to_come_by_some(tmp_path, name):
    with pytest.raises(UserError, match=f"--weights none, got {name} alone, which has no trained weights of its own"):
        load_model(name)
    classifier = load_model(name, "none")
    save_checkpoint(classifier, tmp_path / "mine", name)
    assert load_model(str(tmp_path / "mine")).fingerprint() == classifier.fingerprint()
