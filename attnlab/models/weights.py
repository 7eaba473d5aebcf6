"""State dicts of any training script: read from a file, and loaded into the network that they fit."""

import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.errors import UserError, nearest
from attnlab.failures import one_line
from attnlab.models.weights_file import read_content
from attnlab.models.weights_fit import COUNTER, Fit, State, WeightsFile, check_whole

AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # heads for training only, which attnlab builds no network with
OTHER = ("optim", "sched", "lr_sched", "scaler", "amp")  # keys of a training's state beside the weights
DEPTH = 3  # dicts in dicts that are searched for state dicts
#: the published DenseNets say norm.1 where torchvision now says norm1
DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")


def read_weights(path: Path, key: str | None = None) -> WeightsFile:
    """The state dicts of a file, or those that a key leaves.

    `key` names a state dict, with dots between the keys of nested dicts; or what the names of the wanted tensors begin
    with, alone or behind a state dict's name.
    """
    content = read_content(path)
    states = {name: _renamed(state) for name, state in _state_dicts(content)}
    if not states:
        raise UserError(f"expected {path} to hold a state dict (names to tensors), got {_kind(content)}")
    return WeightsFile(path, states) if key is None else _chosen(states, key, path)


def _renamed(state: State) -> State:
    """The state dict, in today's names where it has a DenseNet's of old."""
    if not any(DENSENET.search(name) for name in state):
        return state
    return {DENSENET.sub(r"\1", name): value for name, value in state.items()}


def renamed(file: WeightsFile, names: Mapping[str, str]) -> WeightsFile:
    """The file in a network's names, of tensors that have, behind any prefix, the other names that are given."""

    def now(name: str) -> str:
        parts = name.split(".")
        ends = ((".".join([*parts[:at], ""]), ".".join(parts[at:])) for at in range(len(parts)))
        return next((f"{before}{names[end]}" for before, end in ends if end in names), name)

    states = {key: {now(name): value for name, value in state.items()} for key, state in file.states.items()}
    return replace(file, states=states) if names else file


def _state_dicts(content: Any, name: str = "", depth: int = DEPTH) -> list[tuple[str, State]]:
    """The state dicts in what a file holds: names with dots between keys, empty for the content itself."""
    if not isinstance(content, dict):
        return []
    tensors = [value for value in content.values() if isinstance(value, Tensor)]
    if len(tensors) == len(content) and all(isinstance(key, str) for key in content):
        # figures of training are scalars
        return [(name, content)] if any(tensor.ndim > 1 for tensor in tensors) or (not name and tensors) else []
    if not depth:
        return []
    inner = {key: value for key, value in content.items() if isinstance(key, str) and not key.startswith(OTHER)}
    return [
        pair for key, value in inner.items() for pair in _state_dicts(value, f"{name}.{key}".lstrip("."), depth - 1)
    ]


def _kind(content: Any) -> str:
    """Describe what a file holds in place of a state dict."""
    if isinstance(content, dict) and content:
        return f"a dict with {', '.join(map(repr, list(content)[:5]))}"
    return "no tensors" if content in ({}, []) else type(content).__name__


def _chosen(states: dict[str, State], key: str, path: Path) -> WeightsFile:
    """The state dict of that name, or those with tensors whose names begin so."""
    if key in states:
        return WeightsFile(path, {key: states[key]}, asked=True)
    start = f"{key.rstrip('.')}."
    for name, state in states.items():
        below = start.removeprefix(f"{name}.")
        if below != start and any(tensor.startswith(below) for tensor in state):
            return WeightsFile(path, {name: state}, below, asked=True)
    having = {name: state for name, state in states.items() if any(tensor.startswith(start) for tensor in state)}
    if having:
        return WeightsFile(path, having, start, asked=True)
    starts = dict.fromkeys(f"{name.partition('.')[0]}." for state in states.values() for name in state if "." in name)
    known = [name for name in states if name] or list(starts)
    listed = ", ".join(known) or "(none)"
    raise UserError(f"expected --weights-key for {path} to be one of {listed}, got {key!r}{nearest(key, known)}")


def classes_of(network: nn.Module, fit: Fit) -> int | None:
    """Number of classes that a state dict's head is made for, where that alone parts it from the network; else None."""
    wanted, state = network.state_dict(), fit.tensors
    other = [(tuple(wanted[name].shape), tuple(state[name].shape)) for name in _of_another_shape(state, wanted)]
    counts = {(old[:1], new[:1]) for old, new in other}
    if len(counts) != 1 or any(old[1:] != new[1:] or not old or not new for old, new in other):
        return None
    ((_, (classes,)),) = counts
    return int(classes)


def load_state(network: nn.Module, fit: Fit) -> None:
    """Give a network its weights; a warning says what of the file is left out.

    That is what lies beside the network's tensors, and auxiliary heads that it does without.
    """
    path, wanted, state = fit.path, network.state_dict(), fit.tensors
    other = _of_another_shape(state, wanted)
    shapes = [f"{name} (expected {tuple(wanted[name].shape)}, got {tuple(state[name].shape)})" for name in other]
    kept = OrderedDict((name, value) for name, value in state.items() if name not in other)
    # the version of each module, by which it knows an old state dict; safetensors files have none
    kept._metadata = fit.versions or getattr(wanted, "_metadata", {})  # type: ignore[attr-defined]
    _check_plain(kept, wanted, path)
    try:
        missing, unknown = network.load_state_dict(kept, strict=False)  # modules rename old names of their own here
    except Exception as error:  # what a module's own hooks make of other tensors
        raise UserError(f"{path} cannot be loaded into the network of --model: {one_line(error)}") from None
    kinds = {
        "missing": [name for name in missing if name not in other and not name.endswith(COUNTER)],
        "unknown": [name for name in unknown if not name.startswith(AUXILIARY)],
        "of another shape": shapes,
    }
    differences = [f"{len(names)} {kind}, such as {names[0]}" for kind, names in kinds.items() if names]
    if differences:
        raise UserError(f"{path} holds the weights of another network than --model names: {'; '.join(differences)}")
    check_whole(fit)
    if groups := dict.fromkeys([*fit.left_out, *(name.partition(".")[0] for name in unknown)]):
        warnings.warn(f"the network has no place for {', '.join(groups)} of {path}: left out", stacklevel=2)
    _check_finite(network, path)


def _check_finite(network: nn.Module, path: Path) -> None:
    """Refuse NaN and infinite parameters, naming the first; buffers may hold infinity, as masks of attention do."""
    parameters = dict(network.named_parameters())
    for name, value in network.state_dict().items():
        if not value.is_floating_point() or value.is_meta or value.layout != torch.strided:
            continue
        wrong = ~value.isfinite() if name in parameters else value.isnan()
        if wrong.any():
            raise UserError(
                f"expected finite weights in {path}, got {int(wrong.sum())} of {wrong.numel()} values of {name} NaN or "
                "infinite; a training that diverged leaves such, an earlier checkpoint may be whole"
            )


def _check_plain(state: State, wanted: State, path: Path) -> None:
    """Refuse tensors that cannot be copied as they are: quantised numbers, say, mean others than they are."""
    for name, value in state.items():
        if name not in wanted:
            continue
        kind = str(value.layout).removeprefix("torch.") if value.layout != torch.strided else ""
        kind = kind or ("quantised" if value.is_quantized else "meta" if value.is_meta else "")
        if kind or value.is_floating_point() != wanted[name].is_floating_point():
            raise UserError(
                f"expected {path} to hold {name} as plain {wanted[name].dtype} numbers, got "
                f"{f'{kind} ' if kind else ''}{value.dtype}; save the weights of the network in float32"
            )


def _of_another_shape(state: State, wanted: State) -> list[str]:
    return [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
