"""Fold batch norms into the convolutions before them: the same function of an image, in fewer passes over memory."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from attnlab.hooks import capture, moved, neighbours

TOLERANCE = 1e-4  # logits, and what is kept, may move by so much of their largest value


class ConvBN(NamedTuple):
    """Names of a batch norm and of the convolution whose output it alone reads."""

    norm: str
    conv: str


@torch.no_grad()
def foldable(
    network: nn.Module,
    run: Callable[[], Tensor],
    keep: str | None = None,
    norms: Sequence[tuple[str, str]] | None = None,
) -> list[ConvBN]:
    """The batch norms of a network in eval mode that can be folded, whatever its weights are.

    Those that directly follow a convolution, but for those whose folding changes the logits that `run` gives of a few
    images, or the output of the module `keep`, as it does where something else reads the convolution's output too.
    `norms` names norms and the convolutions that they followed in such a pass, where one was made.
    """
    if norms is None:
        with neighbours(network, nn.BatchNorm2d, nn.Conv2d) as norms:
            run()
    times = Counter(name for pair in norms for name in pair)
    pairs = [
        pair
        for pair in map(ConvBN._make, norms)
        if times[pair.conv] == times[pair.norm] == 1
        and _is_plain(network.get_submodule(pair.conv), nn.Conv2d)
        and _is_plain(network.get_submodule(pair.norm), nn.BatchNorm2d)
        and network.get_submodule(pair.norm).running_mean is not None
    ]

    def seen() -> list[Tensor]:
        if keep is None:
            return [run()]
        with capture(network, keep) as kept:
            return [run(), *kept]

    with moved(network):
        before = seen()

        def same(chosen: list[ConvBN]) -> bool:
            try:
                with folded(network, chosen):
                    after = seen()
            except Exception:  # a network that looks into its norms
                return False
            return all((a - b).abs().max() <= TOLERANCE * b.abs().max() for a, b in zip(after, before, strict=True))

        return pairs if same(pairs) else [pair for pair in pairs if same([pair])]


def _is_plain(module: Any, kind: type[nn.Module]) -> bool:
    """Whether it is torch's own, not of a derived class, and its parameters are not made anew in each pass."""
    return type(module) is kind and all(
        value is None or isinstance(value, nn.Parameter) for value in (module.weight, module.bias)
    )


@contextmanager
def folded(network: nn.Module, pairs: Sequence[ConvBN]) -> Iterator[None]:
    """Fold batch norms in place as they are in eval mode; after the block each module and parameter is where it was."""
    norms: list[Any] = [network.get_submodule(pair.norm) for pair in pairs]
    convs: list[Any] = [network.get_submodule(pair.conv) for pair in pairs]
    own = [(conv.weight, conv.bias) for conv in convs]
    try:
        fold_batch_norms(network, pairs)
        yield
    finally:
        for pair, norm, conv, parameters in zip(pairs, norms, convs, own, strict=True):
            conv.weight, conv.bias = parameters
            network.set_submodule(pair.norm, norm)


def fold_batch_norms(network: nn.Module, pairs: Sequence[ConvBN]) -> None:
    """Fold batch norms in place, for good, in the network's own precision."""
    for pair in pairs:
        norm: Any = network.get_submodule(pair.norm)
        conv: Any = network.get_submodule(pair.conv)
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        network.set_submodule(pair.norm, nn.Identity())
