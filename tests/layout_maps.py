"""Maps of networks of any layout, by a hook and autograd alone."""

import torch
from torch import Tensor, nn

from attnlab.models import Classifier


def noise(count: int, size: tuple[int, int] = (16, 24)) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def classifier_of(network: nn.Module, layer: str | None = None) -> Classifier:
    return Classifier(network, layer).double().eval()


def by_hand(
    classifier: Classifier, images: Tensor, labels: Tensor, spatial, layer: str, *, graph: bool = False
) -> Tensor:
    """Grad-CAM with a hook and autograd alone, (N, h, w)."""
    seen = []
    keep = lambda _module, _inputs, output: seen.append(output) or output.clone()  # noqa: E731
    handle = classifier.network.get_submodule(layer).register_forward_hook(keep)
    logits = classifier(images)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[range(len(labels)), labels].sum(), seen[-1], create_graph=graph)
    return (spatial(gradient).mean((2, 3), keepdim=True) * spatial(seen[-1])).sum(1)


def patches(before: int):
    return lambda values: values[:, before : before + 24].reshape(len(values), 4, 6, 16).permute(0, 3, 1, 2)
