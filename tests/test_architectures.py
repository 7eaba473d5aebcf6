"""Maps of the common architectures, against plain autograd written here: a hook, a gradient, axes moved by hand."""

import pytest
import torch
from torch import Tensor, nn

from attnlab.attention.gradcam import grad_cam
from attnlab.compat import torchvision
from attnlab.models import Classifier

#: how a layer's output becomes (N, C, h, w), by hand
CONVOLUTIONAL = lambda values: values  # noqa: E731
CHANNELS_LAST = lambda values: values.permute(0, 3, 1, 2)  # noqa: E731


def tokens(prefix: int, rows: int, columns: int):
    return lambda values: values[:, prefix:].reshape(len(values), rows, columns, -1).permute(0, 3, 1, 2)


def from_torchvision(name: str, size: int) -> nn.Module:
    options = {"init_weights": False} if name == "googlenet" else {}
    options |= {"image_size": size} if name.startswith("vit") else {}
    options |= {"input_size": (size, size)} if name.startswith("maxvit") else {}
    return torchvision.models.get_model(name, num_classes=7, **options)


def from_timm(name: str, size: int) -> nn.Module:
    timm = pytest.importorskip("timm", reason="needs the package timm")
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")  # RobustBench wants 1.0.9
    options = {} if name.startswith("mambaout") else {"img_size": size}
    options |= {"depth": 2} if name.startswith("beit") else {}  # there is no smaller one
    return timm.create_model(name, num_classes=7, **options)


CASES = [
    (from_torchvision, "vit_b_16", 32, "encoder.layers.encoder_layer_11.ln_1", (2, 2), tokens(1, 2, 2)),
    (from_torchvision, "swin_t", 64, "permute", (2, 2), CONVOLUTIONAL),
    (from_torchvision, "swin_v2_t", 64, "permute", (2, 2), CONVOLUTIONAL),
    (from_torchvision, "convnext_tiny", 64, "features", (2, 2), CONVOLUTIONAL),
    (from_torchvision, "efficientnet_b0", 64, "features", (2, 2), CONVOLUTIONAL),
    (from_torchvision, "densenet121", 64, "features", (2, 2), CONVOLUTIONAL),
    (from_torchvision, "googlenet", 64, "inception5b", (2, 2), CONVOLUTIONAL),
    (from_torchvision, "mnasnet1_0", 64, "layers", (2, 2), CONVOLUTIONAL),
    (from_torchvision, "regnet_y_400mf", 64, "trunk_output", (2, 2), CONVOLUTIONAL),
    (from_torchvision, "maxvit_t", 224, "blocks.3", (7, 7), CONVOLUTIONAL),
    (from_timm, "vit_tiny_patch16_224", 64, "blocks.11.norm1", (4, 4), tokens(1, 4, 4)),
    (from_timm, "vit_small_patch14_reg4_dinov2", 56, "blocks.11.norm1", (4, 4), tokens(5, 4, 4)),
    (from_timm, "deit_tiny_patch16_224", 64, "blocks.11.norm1", (4, 4), tokens(1, 4, 4)),
    (from_timm, "deit_tiny_distilled_patch16_224", 64, "blocks.11.norm1", (4, 4), tokens(2, 4, 4)),
    (from_timm, "eva02_tiny_patch14_224", 56, "blocks.11.norm1", (4, 4), tokens(1, 4, 4)),
    (from_timm, "swin_tiny_patch4_window7_224", 64, "norm", (2, 2), CHANNELS_LAST),
    (from_timm, "beit_base_patch16_224", 64, "blocks.1.norm1", (4, 4), tokens(1, 4, 4)),
    (from_timm, "mambaout_femto", 64, "stages", (2, 2), CHANNELS_LAST),
    (from_timm, "nest_tiny_jx", 64, "norm", (4, 4), CHANNELS_LAST),
]


def autograd_map(classifier: Classifier, layer: str, spatial, images: Tensor, class_: int) -> Tensor:
    """Grad-CAM by its definition: the gradient of the logit by the layer's output, averaged over the cells."""
    captured = []

    def keep(_module, _inputs, output):
        captured.append(output.detach().requires_grad_())
        return captured[-1].clone()

    handle = classifier.network.get_submodule(layer).register_forward_hook(keep)
    score = classifier(images)[:, class_].sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, captured[-1])
    weights = spatial(gradient).mean((2, 3), keepdim=True)
    return (weights * spatial(captured[-1])).sum(1).detach()


def with_a_head(network: nn.Module) -> nn.Module:
    """No linear layer of zeros, such as some vision transformers begin with: they hide every gradient."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.1, generator=generator)
    return network


@pytest.mark.filterwarnings("ignore:the map of layer")
@pytest.mark.parametrize(("make", "name", "size", "layer", "cells", "spatial"), CASES, ids=[case[1] for case in CASES])
def test_maps_of_an_architecture_equal_plain_autograd(make, name, size, layer, cells, spatial):
    torch.manual_seed(0)
    network = with_a_head(make(name, size).eval())
    network.input_size = (size, size)
    classifier = Classifier(network).eval()
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    ours = grad_cam(classifier, images, torch.tensor([3]))
    assert (classifier.attention_layer, classifier.map_shape) == (layer, cells)
    assert ours.shape == (1, *cells)
    expected = autograd_map(classifier, layer, spatial, images, 3)
    assert expected.abs().max() > 0
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
