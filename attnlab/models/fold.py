"""Fold batch norms into the convolutions before them: the same function of an image, in fewer passes over memory."""

import copy
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from attnlab.hooks import fed_by

#: logits may move by so much of their largest value
TOLERANCE = 1e-4


@torch.no_grad()
def fold_batch_norms(network: nn.Module, images: Tensor, keep: str | None = None) -> tuple[nn.Module, int]:
    """A copy of the network whose batch norms are folded where they follow a convolution.

    Args:
        network: In eval mode.
        images: Normalised images to run it on, (N, C, H, W).
        keep: Name of a module whose own output must stay as it is.

    Returns:
        The copy, for inference only, and the number of batch norms folded: they became identities and kept their
        names. The network itself and 0 where there are none, or where folding would change the logits.
    """
    pairs = fed_by(network, images, nn.BatchNorm2d, nn.Conv2d)
    times = Counter(name for pair in pairs for name in pair)
    folded = copy.deepcopy(network)
    count = 0
    for norm_name, conv_name in pairs:
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        mean, variance = norm.running_mean, norm.running_var
        if conv_name == keep or times[conv_name] > 1 or times[norm_name] > 1 or mean is None or variance is None:
            continue
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
        )
        parent, _, leaf = norm_name.rpartition(".")
        setattr(folded.get_submodule(parent), leaf, nn.Identity())
        count += 1
    if not count:
        return network, 0
    before, after = network(images), folded(images)
    moved = (before - after).abs().max() / before.abs().max()
    return (folded, count) if moved <= TOLERANCE else (network, 0)
