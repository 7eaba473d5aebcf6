"""The normalisation that a file of weights holds, beside what the user and the network say."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from attnlab.errors import UserError
from attnlab.models.preprocessing import IDENTITY, Values, checked, normalises_itself, said_by

CLOSE = 1e-6  # what float32 makes of a mean such as .485 and more


@dataclass(frozen=True)
class Normaliser:
    """Mean and std in a file of weights: one value, or one for each channel, of pixels in [0, 1].

    `label` is the module that holds them, or both names where none does; `tensors` the names of theirs.
    """

    label: str
    mean: Values
    std: Values
    tensors: tuple[str, ...]

    def __str__(self) -> str:
        """Label and values, for messages."""
        return f"{self.label} ({_listed(self.mean, self.std)})"


def settle(
    network: nn.Module,
    stated: dict[str, Any],
    found: tuple[Normaliser, ...],
    path: Path,
    *,
    preset: bool,
    unseen: str = "",
) -> dict[str, Any]:
    """What is stated of a network's images, with mean and std of the file where these count; a warning says so.

    What the user states counts before the file, and the file before what a library says of its own weights (`preset`);
    a network that says otherwise of itself is refused, and so are two normalisers of other values. `unseen` names the
    network in an nn.Sequential whose part before it has no tensors in the file: a warning says what is done instead.
    """
    if "mean" in stated:
        for other in found:
            if None not in (stated["mean"], stated["std"]) and not _same(other, stated):
                warnings.warn(
                    f"images are normalised with the {_listed(**_filled(stated))} stated, while {path} holds {other}",
                    stacklevel=3,
                )
        return stated
    own, plain = said_by(network)
    said = f"the network itself says {_listed(**_filled(plain))}" if plain else ""
    if unseen and not own:
        instead = f"images are normalised as {said}" if said else "images are not normalised"
        warnings.warn(
            f"{path} holds the network as {unseen}, behind a module without tensors in the file, which often "
            f"normalises: {instead}; --mean and --std say otherwise",
            stacklevel=3,
        )
    if not found or (plain and not own and all(_same(other, plain) for other in found)):
        return stated
    inside = f"the network holds {' and '.join(own)} as tensors, to normalise its images itself" if own else ""
    if normalises_itself(network):
        inside = "the network normalises its images itself"
    readings = [text for text in (*map(str, found), inside, "" if preset else said) if text]
    if len(readings) > 1:
        raise UserError(
            f"expected one normalisation in {path} and the network, got {'; '.join(readings)}: "
            "say with --mean and --std what images are normalised with"
        )
    (taken,) = found
    where = f"of {taken.label} in {path}"
    checked(taken.mean, taken.std, max(map(len, (taken.mean, taken.std))), (f"mean {where}", f"std {where}"))
    instead = f", where {said}" if said else ""
    warnings.warn(f"images are normalised as {path} says: {taken}{instead}", stacklevel=3)
    return stated | {"mean": taken.mean, "std": taken.std}


def _filled(said: dict[str, Any]) -> dict[str, Any]:
    """Mean and std of what is said, that of the identity where one is missing."""
    return {name: said.get(name, IDENTITY[name]) for name in IDENTITY}


def _same(normaliser: Normaliser, said: dict[str, Any]) -> bool:
    """Whether both normalise alike, to the rounding of float32."""
    try:
        return all(
            np.allclose(getattr(normaliser, name), np.asarray(value, dtype=float), rtol=0, atol=CLOSE)
            for name, value in _filled(said).items()
        )
    except (TypeError, ValueError):  # no numbers, or of another count of channels
        return False


def _listed(mean: Any, std: Any) -> str:
    """Both for a message."""
    texts = []
    for name, given in (("mean", mean), ("std", std)):
        try:
            texts.append(f"{name} {', '.join(f'{value:g}' for value in np.atleast_1d(given).astype(float))}")
        except (TypeError, ValueError):  # refused with its reason where it is used
            texts.append(f"{name} {given!r}")
    return " and ".join(texts)
