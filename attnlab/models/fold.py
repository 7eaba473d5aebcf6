"""Fold batch norms into the convolutions before them: the same function of an image, in fewer passes over memory."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from attnlab.hooks import fed_by

#: logits may move by so much of their largest value
TOLERANCE = 1e-4


class Pair(NamedTuple):
    """Names of a batch norm and of the convolution whose output it alone reads."""

    norm: str
    conv: str


@torch.no_grad()
def foldable(network: nn.Module, run: Callable[[], Tensor], keep: str | None = None) -> list[Pair]:
    """The batch norms that can be folded, whatever the network's weights are.

    Args:
        network: In eval mode.
        run: Its logits of a few images, (N, K).
        keep: Name of a module whose own output must stay as it is.

    Returns:
        Those that directly follow a convolution; none where folding them changes the logits under statistics other
        than the network's own, as it does where something else reads a convolution's output too.
    """
    found = [Pair(*names) for names in fed_by(network, run, nn.BatchNorm2d, nn.Conv2d)]
    times = Counter(name for pair in found for name in pair)
    pairs = [
        pair
        for pair in found
        if pair.conv != keep
        and times[pair.conv] == times[pair.norm] == 1
        and type(network.get_submodule(pair.conv)) is nn.Conv2d  # a derived class may do more than torch's own
        and type(network.get_submodule(pair.norm)) is nn.BatchNorm2d
        and network.get_submodule(pair.norm).running_mean is not None
    ]
    norms: list[Any] = [network.get_submodule(pair.norm) for pair in pairs]
    own = [(norm.running_mean, norm.running_var) for norm in norms]
    draw = torch.Generator().manual_seed(0)
    try:
        for norm, (mean, variance) in zip(norms, own, strict=True):
            by = torch.rand(2, *mean.shape, generator=draw).to(mean)
            norm.running_mean, norm.running_var = mean + (by[0] - 0.5) * variance.sqrt(), variance * (by[1] + 0.5)
        before = run()
        with folded(network, pairs):
            after = run()
    finally:
        for norm, statistics in zip(norms, own, strict=True):
            norm.running_mean, norm.running_var = statistics
    return pairs if (before - after).abs().max() <= TOLERANCE * before.abs().max() else []


@contextmanager
def folded(network: nn.Module, pairs: Sequence[Pair]) -> Iterator[None]:
    """Fold batch norms as they are in eval mode; after the block every module and parameter is where it was.

    Args:
        network: Changed in place: the convolutions get other weights and biases, the norms become identities.
        pairs: From `foldable`.
    """
    norms: list[Any] = [network.get_submodule(pair.norm) for pair in pairs]
    convs: list[Any] = [network.get_submodule(pair.conv) for pair in pairs]
    own = [(conv.weight, conv.bias) for conv in convs]
    try:
        for pair, norm, conv in zip(pairs, norms, convs, strict=True):
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            network.set_submodule(pair.norm, nn.Identity())
        yield
    finally:
        for pair, norm, conv, parameters in zip(pairs, norms, convs, own, strict=True):
            conv.weight, conv.bias = parameters
            network.set_submodule(pair.norm, norm)


def fold_batch_norms(network: nn.Module, pairs: Sequence[Pair]) -> nn.Module:
    """A copy of the network, for inference only, whose batch norms are folded; names stay as they are.

    Args:
        network: In eval mode.
        pairs: From `foldable`.
    """
    with folded(network, pairs):
        return copy.deepcopy(network)
