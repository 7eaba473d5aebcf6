"""Read and check the normalisation and size that a network states for its images."""

import math
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from torch import Tensor, nn

from attnlab.errors import UserError

IDENTITY: dict[str, Any] = {"mean": 0.0, "std": 1.0}  # normalisation that changes nothing
DEFAULT_SIZE = (224, 224)


Statistic = float | Sequence[float]  # a value, or one for each channel
Values = tuple[float, ...]


def statistics_of(
    network: nn.Module, channels: int, mean: Statistic | None, std: Statistic | None
) -> tuple[Values, Values]:
    """Mean and standard deviation that images are normalised with, a value for each channel.

    Those that the user states count before those of the network. Its attributes `mean` and `std` count where they are
    plain numbers of its class or instance. Tensors of these names belong to the network's own arithmetic, as robustness
    code has them: it normalises its images itself then, and nothing is done before; a warning says so, unless the
    network says it itself with `normalises_itself`.
    """
    if (mean is None) != (std is None):
        stated, missing = ("--mean", "--std") if std is None else ("--std", "--mean")
        raise UserError(f"expected --mean and --std together, got {stated} alone; say {missing} too")
    if mean is not None and std is not None:
        return checked(mean, std, channels, ("--mean", "--std"))
    own, plain = said_by(network)
    if own and plain:
        raise UserError(
            f"expected mean and std of the network to be plain numbers, got a tensor as {own[0]} and numbers as "
            f"{next(iter(plain))}: say with --mean and --std what images are normalised with (0 and 1: nothing)"
        )
    if own and not normalises_itself(network):
        warnings.warn(
            f"the network holds {' and '.join(own)} as tensors, so it is taken to normalise its images itself; if it "
            "does not, state what it needs with --mean and --std (from Python: Classifier(network, mean=..., std=...))",
            stacklevel=2,
        )
    given = IDENTITY | plain
    return checked(given["mean"], given["std"], channels, ("mean of the network", "std of the network"))


def normalises_itself(network: nn.Module) -> bool:
    """Whether a network says that it takes pixels in [0, 1]."""
    return bool(getattr(network, "normalises_itself", False))


def said_by(network: nn.Module) -> tuple[list[str], dict[str, Any]]:
    """What a network says of normalising its images itself, and those of mean and std that it says in plain numbers.

    The first is `normalises_itself`, or which of mean and std are tensors of its own.
    """
    if normalises_itself(network):
        return ["normalises_itself"], {}
    said = {name: getattr(network, name, None) for name in IDENTITY}
    own = [name for name, value in said.items() if isinstance(value, Tensor)]
    return own, {name: value for name, value in said.items() if isinstance(value, Real | Sequence | np.ndarray)}


def checked(mean: Any, std: Any, channels: int, names: tuple[str, str]) -> tuple[Values, Values]:
    """Mean and std as a value for each channel; what cannot be meant for pixels in [0, 1] is refused by its name."""
    means, stds = (_values(given, channels, name) for given, name in zip((mean, std), names, strict=True))
    if max(means) > 1:
        scaled = [_listed([round(value / 255, 4) for value in values]) for values in (means, stds)]
        raise UserError(
            f"expected {names[0]} for pixels in [0, 1], got {_listed(means)}, which is for pixels from 0 to 255; "
            f"divide mean and std by 255: {' and '.join(scaled)}"
        )
    if min(stds) <= 0:
        raise UserError(f"expected {names[1]} above 0, got {_listed(stds)}")
    if max(stds) > 1:
        warnings.warn(
            f"{names[1]} is {_listed(stds)}, more than pixels in [0, 1] can have; if it is for pixels from 0 to 255, "
            "divide it by 255",
            stacklevel=2,
        )
    return means, stds


def _values(given: Any, channels: int, name: str) -> Values:
    """Numbers, one for each channel."""
    listed = _elements(given)
    if not _are(Real, listed):
        raise UserError(f"expected {name} to be {channels} numbers, got {given!r}")
    values = tuple(float(value) for value in listed)
    if len(values) not in (1, channels):
        hint = "" if name.startswith("--") else "; --mean and --std say others"
        raise UserError(f"expected {name} to be {channels} numbers, one for each channel, got {_listed(values)}{hint}")
    if not all(map(math.isfinite, values)):
        raise UserError(f"expected {name} of finite numbers, got {_listed(values)}")
    return values * channels if len(values) == 1 else values


def size_of(network: nn.Module, stated: Any = None) -> tuple[int | None, tuple[int, int]]:
    """Channels and (height, width) of a network's images; channels None where they are not stated.

    What the user states, or else the network's `input_size`, is a number, (height, width) or (channels, height, width).
    """
    said: Any = getattr(network, "input_size", None) if stated is None else stated
    if said is None:
        return None, DEFAULT_SIZE
    values = _elements(said)
    if not _are(Integral, values) or not all(value > 0 for value in values) or not 1 <= len(values) <= 3:
        raise UserError(
            "expected input_size of the network to be a whole number, (height, width) or (channels, height, width), "
            f"got {said!r}"
        )
    *channels, height, width = map(int, values * 2 if len(values) == 1 else values)
    return channels[0] if channels else None, (height, width)


def input_channels(network: nn.Module, said: int | None) -> int:
    """Colour channels that a network's images seem to have: of its first convolution, else what it says, else 3."""
    return next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), said or 3)


def _elements(given: Any) -> list[Any]:
    """The values of a sequence or array; a single value by itself."""
    return list(given) if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) else [given]


def _are(kind: type, values: list[Any]) -> bool:
    """Whether all are numbers of a kind; no person means a boolean as one."""
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
