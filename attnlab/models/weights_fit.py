"""Find a network's tensors in a file of weights, whatever training wrote before their names."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.errors import UserError
from attnlab.models.normaliser import Normaliser
from attnlab.models.preprocessing import input_channels, size_of

State = Mapping[str, Tensor]

#: keys under which training scripts keep the state dict; of those that fit equally well the first counts
NESTED = ("state_dict", "model_state_dict", "model")
COUNTER = "num_batches_tracked"  # what batch norms of old files lack; evaluation does not read it
#: names of the mean's and the std's tensor in a normaliser: most code's, robustness', and of some in RobustBench
STATISTICS = {"mean": "std", "new_mean": "new_std", "mu": "sigma"}
SHOWN = 5  # sets of tensors that an error lists


@dataclass(frozen=True)
class WeightsFile:
    """State dicts of a file, by their keys with dots between; where `start` is not empty, only names that begin so."""

    path: Path
    states: Mapping[str, State]
    start: str = ""
    asked: bool = False  # the user chose among what the file holds


@dataclass(frozen=True)
class Fit:
    """The tensors of a network: those of one state dict whose names begin with a prefix, empty or with a dot behind.

    Attributes:
        path: The file.
        name: Of the state dict in it.
        state: The whole state dict.
        prefix: What the names of the network's tensors begin with.
        start: What the user said that they begin with; nothing is said of tensors of other names.
        normalisers: Mean and std beside or around the network, or within it where it has no place for them.
    """

    path: Path
    name: str
    state: State = field(repr=False)
    prefix: str = ""
    start: str = ""
    normalisers: tuple[Normaliser, ...] = ()

    @property
    def label(self) -> str:
        """As --weights-key takes it."""
        return f"{self.name}.{self.prefix}".strip(".") or "(names without a prefix)"

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors in the names of the network, normalisers aside."""
        start = len(self.prefix)
        used = self._of_normalisers
        return {n[start:]: value for n, value in self.state.items() if n.startswith(self.prefix) and n not in used}

    @property
    def versions(self) -> dict[str, Any]:
        """Version of each module, by its name in the network; empty where the file does not say."""
        known: dict[str, Any] = getattr(self.state, "_metadata", {})
        inside = {f"{name}.": version for name, version in known.items() if f"{name}.".startswith(self.prefix)}
        return {name.removeprefix(self.prefix).rstrip("."): version for name, version in inside.items()}

    @property
    def left_out(self) -> list[str]:
        """Modules and tensors beside the network that are not used, each by the shortest name."""
        inside = self.prefix.split(".")
        groups = []
        for name in self.state:
            if name.startswith(self.start) and not name.startswith(self.prefix) and name not in self._of_normalisers:
                parts = name.split(".")
                same = next((at for at, pair in enumerate(zip(parts, inside, strict=False)) if len(set(pair)) > 1), 0)
                groups.append(".".join(parts[: same + 1]))
        return list(dict.fromkeys(groups))

    @property
    def neighbours(self) -> Iterator[tuple[str, int, set[int]]]:
        """Each nn.Sequential around the network: its prefix, the network's place in it, places of other tensors."""
        parts = self.prefix.split(".")[:-1]
        for at, part in enumerate(parts):
            around = ".".join([*parts[:at], ""])
            if part.isdecimal():
                beside = {
                    name.removeprefix(around).partition(".")[0]
                    for name in self.state
                    if name.startswith(around) and name not in self._of_normalisers
                }
                yield around, int(part), {int(place) for place in beside - {part} if place.isdecimal()}

    @property
    def unseen(self) -> str:
        """Name of the network in an nn.Sequential, before which something runs that has no tensors in the file."""
        if self.normalisers:
            return ""
        return next((f"{around}{place}" for around, place, others in self.neighbours if place and not others), "")

    @cached_property
    def _of_normalisers(self) -> frozenset[str]:
        return frozenset(name for normaliser in self.normalisers for name in normaliser.tensors)


def fit_weights(network: nn.Module, file: WeightsFile, *, adapts: bool = False) -> Fit:
    """The largest set of tensors whose names, without what is before all of them, are those of the network.

    Of copies of one module the one with the shortest prefix is taken. A warning says which state dict is taken where
    another could be meant. Sets that fit equally well are refused, but for state dicts of which one has a name of
    NESTED. `adapts`: the network can be built for another number of classes, so that this number decides nothing.
    """
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    ranked = [
        (rank, Fit(file.path, name, state, prefix, file.start))
        for name, state in file.states.items()
        for prefix, rank in _prefixes(state, wanted, file.start, adapts=adapts).items()
    ]
    best = max(rank for rank, _ in ranked)
    fits = _without_copies([fit for rank, fit in ranked if rank == best], wanted)
    usual = [fit for fit in fits if _order(fit.name) is not None]
    first = min((_order(fit.name) or [] for fit in usual), default=[])
    fits = [fit for fit in usual if _order(fit.name) == first] or fits
    if len(fits) > 1 and 2 * best[1] >= len(wanted):
        listed = [fit.label for fit in fits]
        more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
        raise UserError(
            f"{file.path} holds {', '.join(listed[:SHOWN])}{more}, which fit the network equally well; "
            "name one with --weights-key"
        )
    chosen = fits[0]
    _say_which(chosen, file)
    channels = input_channels(network, size_of(network)[0])
    found = _normalisers(chosen, network.state_dict(), channels)
    return replace(chosen, normalisers=found)


def _prefixes(state: State, wanted: State, start: str, *, adapts: bool) -> dict[str, tuple[int, int]]:
    """What can be taken off the names, with how many tensors of the network are below it, by shape and by name."""
    by_shape: Counter[str] = Counter()
    by_name = Counter({start: 0})
    for name, value in state.items():
        at = len(start)
        while name.startswith(start):
            if (same := wanted.get(name[at:])) is not None:
                by_name[name[:at]] += 1
                head = adapts and value.ndim > 0 and value.shape[1:] == same.shape[1:]
                by_shape[name[:at]] += head or value.shape == same.shape
            if not (at := name.find(".", at) + 1):
                break
    return {
        prefix: (by_shape[prefix], count) for prefix, count in sorted(by_name.items(), key=lambda pair: len(pair[0]))
    }


def _without_copies(fits: Sequence[Fit], wanted: State) -> list[Fit]:
    """The sets without those whose tensors equal an earlier one's of the same state dict."""
    kept: list[Fit] = []
    for fit in fits:
        mine = fit.tensors
        if not any(
            fit.name == other.name and all(_equal(mine.get(n), other.tensors.get(n)) for n in wanted) for other in kept
        ):
            kept.append(fit)
    return kept


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether both are missing, or the same plain tensor."""
    if one is None or other is None:
        return one is other
    plain = all(
        value.layout == torch.strided and not value.is_meta and not value.is_quantized for value in (one, other)
    )
    return plain and one.dtype == other.dtype and torch.equal(one, other)


def _order(name: str) -> list[int] | None:
    """Rank of a state dict's name among those of NESTED, the smaller the earlier; None for other names."""
    parts = [part for part in name.split(".") if part]
    return [NESTED.index(part) for part in parts] if set(parts) <= set(NESTED) else None


def _say_which(fit: Fit, file: WeightsFile) -> None:
    """Warn of which state dict is taken where the file holds several, or one of an unusual name."""
    if len(file.states) > 1:
        warnings.warn(
            f"{file.path} holds the state dicts {', '.join(file.states)}; this takes {fit.name}, --weights-key another",
            stacklevel=3,
        )
    elif _order(fit.name) is None and not file.asked:
        warnings.warn(f"{file.path} holds one state dict, {fit.name}, which this takes", stacklevel=3)


def check_whole(fit: Fit) -> None:
    """Refuse a part of an nn.Sequential whose other parts have weights, without which the logits are others.

    A part that the user chose is taken.
    """
    for around, place, others in fit.neighbours:
        if others and len(f"{around}{place}.") > len(fit.start):
            beside = ", ".join(f"{around}{other}" for other in sorted(others)[:SHOWN])
            raise UserError(
                f"{fit.path} holds {around}{place}, which fits the network, and {beside} beside it, as an "
                "nn.Sequential does that runs all of them; build that in a FILE.py, or take the one alone with "
                f"--weights-key {fit.label}"
            )


def _normalisers(fit: Fit, wanted: State, channels: int) -> tuple[Normaliser, ...]:
    """Those of other values of what holds a mean and a std, and is a module around the network or beside it."""
    parts = fit.prefix.split(".")
    around = {".".join([*parts[:at], ""]) for at in range(len(parts))}  # "", "module.", "module.model."
    found: dict[tuple[Any, ...], Normaliser] = {}
    for name in fit.state:
        holder, last = name[: name.rfind(".") + 1], name[name.rfind(".") + 1 :]
        names = (name, f"{holder}{STATISTICS.get(last, '')}")
        parent = holder[: holder[:-1].rfind(".") + 1]
        own = name.startswith(fit.prefix) and name.removeprefix(fit.prefix) in wanted
        if own or last not in STATISTICS or names[1] not in fit.state or not around & {holder, parent}:
            continue
        mean, std = (_values(fit.state[name], channels) for name in names)
        if mean and std:
            earlier = found.get((mean, std))
            label = earlier.label if earlier else holder.rstrip(".") or " and ".join(names)
            found[mean, std] = Normaliser(label, mean, std, (*(earlier.tensors if earlier else ()), *names))
    return tuple(found.values())


def _values(tensor: Tensor, channels: int) -> tuple[float, ...]:
    """Numbers of a tensor that holds one, or one for each channel; empty for another tensor."""
    plain = tensor.layout == torch.strided and tensor.is_floating_point() and not tensor.is_meta
    if not plain or tensor.numel() not in (1, channels) or sum(size > 1 for size in tensor.shape) > 1:
        return ()
    return tuple(tensor.double().flatten().tolist())
