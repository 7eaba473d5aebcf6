"""What tests of attention methods share: passes, a small vision transformer, everything that is a model's state."""

import torch
from torch import nn

from attnlab.attention.model_pass import ModelPass
from attnlab.compat import torchvision
from attnlab.hooks import frozen_eval
from attnlab.models import Classifier

SEEDS = [11, 2**63 - 25, 13]


def classifier_of(network: nn.Module, size: tuple[int, int]) -> Classifier:
    """In float64, with a normalisation."""
    network.input_size, network.mean, network.std = size, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    return Classifier(network).double().eval()


def tiny_vit() -> Classifier:
    """Two blocks of two heads, 16 patches and a class token, torchvision's."""
    torch.manual_seed(4)
    network = torchvision.models.VisionTransformer(16, 4, 2, 2, 8, 16, num_classes=5)
    nn.init.normal_(network.heads.head.weight)
    return classifier_of(network, (16, 16))


def images_for(classifier: Classifier, count: int = 3) -> torch.Tensor:
    draw = torch.Generator().manual_seed(5)
    images = torch.rand(count, classifier.channels, *classifier.input_size, generator=draw, dtype=torch.float64)
    return images.to(classifier.mean.dtype)


def maps_of(method, classifier, images, classes, batch_size=7, seeds=SEEDS):
    """Maps of a method, from a pass without activations."""
    with frozen_eval(classifier):
        return method(ModelPass(classifier, images, classifier(images), None, classes, seeds, batch_size))


def state_of(classifier: Classifier) -> tuple[list[object], list[object]]:
    """Everything that a method may not change."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = [
        (name, module.training, sorted(vars(module)), [len(vars(module)[hook]) for hook in hooks])
        for name, module in classifier.named_modules()
    ]
    values = [*classifier.named_parameters(), *classifier.named_buffers()]
    return modules, [(name, value.requires_grad, value.grad, value._version, value.tolist()) for name, value in values]
