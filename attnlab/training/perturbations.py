"""Perturbations of weights: where a step's gradient is taken. The optimizer moves the weights themselves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from attnlab.hooks import preserve_bn_stats


@contextmanager
def unperturbed(_network: nn.Module, _descend: Callable[[], object], _gamma: float) -> Iterator[None]:
    """Leave the weights as they are."""
    yield


@contextmanager
def awp(network: nn.Module, descend: Callable[[], object], gamma: float) -> Iterator[None]:
    """Move weights for the block to where the loss is higher (adversarial weight perturbation, Wu et al. 2020, eq. 10).

    One step from the weights, as the authors make it: each tensor of two or more dimensions (no bias, no norm) moves by
    gamma times its own norm along the gradient that `descend` leaves in its `.grad`. What that pass shows batch norms
    is not kept. Where several processes train together, all move alike, by the gradient of all their images.
    """
    with preserve_bn_stats(network):
        descend()
    moved = [
        (weight, weight.grad, weight.detach().clone())
        for weight in network.parameters()
        if weight.grad is not None and weight.ndim > 1
    ]
    with torch.no_grad():
        for weight, gradient, _ in moved:
            length = gradient.norm()
            weight.add_(gradient * (gamma * weight.norm() / length.where(length > 0, 1)))
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, _, own in moved:
                weight.copy_(own)
