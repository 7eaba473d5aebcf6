"""Number of channels of a network's images: what its first convolution that runs takes, found by running it."""

import warnings

import torch
from torch import Tensor, nn

from attnlab.errors import UserError
from attnlab.hooks import before_first, frozen_eval
from attnlab.models.preprocessing import input_channels
from attnlab.models.wrappers import weights_of

USUAL = (3, 1)  # numbers of channels that are tried where nothing says another


def channels_of(network: nn.Module, size: tuple[int, int], said: int | None, stated: int | None = None) -> int:
    """Number of channels of a network's images of that height and width.

    The first convolution that runs decides, also where others are registered before it or the image is folded first
    (`PixelUnshuffle`); else what the network takes: what is stated, said, or usual.

    Args:
        said: By the network itself, with its `input_size`.
        stated: By the user, in its place.

    Raises:
        UserError: If the first convolution takes another number than is stated or said.
    """
    wanted = said if stated is None else stated
    first = input_channels(network, wanted)
    for channels in dict.fromkeys((wanted or first, first, *USUAL)):
        taken = _taken(network, size, channels)
        if taken is None:
            continue
        if wanted is None or taken == wanted:
            return taken
        if stated is not None:
            raise UserError(
                f"expected --channels {taken}, as the network takes, got {stated}; a network for {stated} is one of a "
                "FILE.py, or timm:NAME"
            )
        raise UserError(
            f"expected input_size of the network as (channels, height, width) with {taken} channels, as its first "
            f"convolution takes, got {said}"
        )
    return wanted or first  # it runs with none of these: why is for the pass that needs it


def _taken(network: nn.Module, size: tuple[int, int], channels: int) -> int | None:
    """How many channels a network takes, asked with images of so many; None where these lead to no answer."""
    images = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    images = images.to(next((tensor for _, tensor in weights_of(network) if tensor.is_floating_point()), images))
    with frozen_eval(network), torch.no_grad(), torch.random.fork_rng([]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = before_first(network, nn.Conv2d, lambda: network(images))
        except Exception:  # whatever the network's code makes of other images
            return None
    if found is None:  # it ran to its end
        return channels
    convolution, seen = found
    wanted = convolution.in_channels
    if not isinstance(seen, Tensor) or seen.ndim != 4:
        return None
    # images that were folded on the way have a whole multiple of their channels
    times, rest = divmod(seen.shape[1], channels)
    return wanted // times if times and not rest and wanted % times == 0 else None
