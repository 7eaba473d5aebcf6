"""State dicts of any training script, fitted to a network."""

import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.errors import UserError, nearest
from attnlab.failures import one_line
from attnlab.models.weights_file import read_content

State = Mapping[str, Tensor]

#: keys under which training scripts keep the state dict, the first that is there being taken
NESTED = ("state_dict", "model_state_dict", "model")
WRAPPERS = ("module.", "_orig_mod.", "model.")  # what DataParallel, torch.compile and Lightning put before every name
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # heads for training only, which attnlab builds no network with
COUNTER = "num_batches_tracked"  # what batch norms of old files lack; evaluation does not read it
OTHER = ("optim", "scheduler", "lr_sched", "scaler", "amp")  # keys of a training's state beside the weights
DEPTH = 3  # dicts in dicts that are searched for state dicts


def read_state(path: Path, key: str | None = None) -> State:
    """The state dict of a file; a warning says which, where another could be meant.

    `key` names the state dict where the file holds several, with dots between the keys of nested dicts; or what the
    names of the wanted tensors begin with.
    """
    content = read_content(path)
    states = dict(_state_dicts(content))
    if not states:
        raise UserError(f"expected {path} to hold a state dict (names to tensors), got {_kind(content)}")
    if key is not None:
        return _named(states, key, path)
    usual = [name for name in states if all(part in NESTED for part in name.split(".") if part)]
    if not usual and len(states) > 1:
        raise UserError(f"{path} holds the state dicts {', '.join(states)}; name one with --weights-key")
    taken = min(usual or states, key=lambda name: [NESTED.index(part) for part in name.split(".") if part in NESTED])
    if len(states) > 1:
        warnings.warn(
            f"{path} holds the state dicts {', '.join(states)}; this takes {taken}, --weights-key another", stacklevel=2
        )
    elif not usual:
        warnings.warn(f"{path} holds one state dict, {taken}, which this takes", stacklevel=2)
    return states[taken]


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


def _named(states: Mapping[str, State], key: str, path: Path) -> State:
    """The state dict of that name, or the tensors of the only one whose names begin so."""
    if key in states:
        return states[key]
    start = f"{key.rstrip('.')}."
    for state in states.values():
        below = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
        if below:
            return below
    starts = dict.fromkeys(f"{name.partition('.')[0]}." for state in states.values() for name in state if "." in name)
    known = [name for name in states if name] or list(starts)
    listed = ", ".join(known) or "(none)"
    raise UserError(f"expected --weights-key for {path} to be one of {listed}, got {key!r}{nearest(key, known)}")


def classes_of(network: nn.Module, state: State) -> int | None:
    """Number of classes that a state dict's head is made for, where that alone parts it from the network; else None."""
    wanted = network.state_dict()
    fitted, _ = _fitted(state, wanted)
    other = [(tuple(wanted[name].shape), tuple(fitted[name].shape)) for name in _of_another_shape(fitted, wanted)]
    counts = {(old[:1], new[:1]) for old, new in other}
    if len(counts) != 1 or any(old[1:] != new[1:] or not old or not new for old, new in other):
        return None
    ((_, (classes,)),) = counts
    return int(classes)


def load_state(network: nn.Module, state: State, path: Path) -> None:
    """Give a network its weights; auxiliary heads that it does without are left out, and a warning says so."""
    wanted = network.state_dict()
    fitted, left_out = _fitted(state, wanted)
    other = _of_another_shape(fitted, wanted)
    shapes = [f"{name} (expected {tuple(wanted[name].shape)}, got {tuple(fitted[name].shape)})" for name in other]
    kept = OrderedDict((name, value) for name, value in fitted.items() if name not in other)
    kept._metadata = fitted._metadata  # type: ignore[attr-defined]
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
    if groups := dict.fromkeys(name.partition(".")[0] for name in [*left_out, *unknown]):
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


def _fitted(state: State, wanted: State) -> tuple[OrderedDict[str, Tensor], list[str]]:
    """The state dict in the names of the network, without what training wrapped around it; and what was left out."""
    # the version of each module, by which it knows an old state dict; safetensors files have none
    versions: dict[str, Any] = getattr(state, "_metadata", None) or getattr(wanted, "_metadata", {})
    left_out: list[str] = []
    while wrapper := _wrapper(state, wanted):
        left_out += [name for name in state if not name.startswith(wrapper)]
        state = {name.removeprefix(wrapper): value for name, value in state.items() if name.startswith(wrapper)}
        versions = {
            f"{name}.".removeprefix(wrapper).rstrip("."): value
            for name, value in versions.items()
            if f"{name}.".startswith(wrapper)
        }
    # the published DenseNets say norm.1 where torchvision now says norm1
    dense = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")
    result = OrderedDict((dense.sub(r"\1", name), value) for name, value in state.items())
    result._metadata = versions  # type: ignore[attr-defined]
    return result, left_out


def _wrapper(state: State, wanted: State) -> str:
    """Prefix of the names of the network's tensors, one of WRAPPERS; empty where there is none.

    Tensors of other names, such as a loss's weights beside Lightning's model, count for nothing where the network has
    none of them.
    """
    for start in WRAPPERS:
        below = [name for name in state if name.startswith(start)]
        beside = [name for name in state if not name.startswith(start)]
        own = any(name.startswith(start) for name in wanted)
        if below and not own and not any(name in wanted or name.startswith(WRAPPERS) for name in beside):
            return start
    return ""
