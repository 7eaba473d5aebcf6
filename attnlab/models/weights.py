"""Weights as files: any state dict into a network."""

import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from attnlab.errors import UserError

#: keys under which training scripts keep the state dict
NESTED = ("state_dict", "model_state_dict", "model")
#: what DataParallel, torch.compile and Lightning put before every name
WRAPPERS = ("module.", "_orig_mod.", "model.")
#: heads for training only, which attnlab builds no network with
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
#: what batch norms of old files lack; evaluation does not read it
COUNTER = "num_batches_tracked"


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a file's state dict; auxiliary heads that the network does without are left out.

    Raises:
        UserError: If the file cannot be read or holds the weights of another network.
    """
    wanted = network.state_dict()
    state = _in_todays_names(_read_state(path), wanted)
    other = {
        name: f"{name} (expected {tuple(wanted[name].shape)}, got {tuple(state[name].shape)})"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    }
    for name in other:
        del state[name]
    missing, unknown = network.load_state_dict(state, strict=False)  # modules rename old names of their own here
    kinds = {
        "missing": [name for name in missing if name not in other and not name.endswith(COUNTER)],
        "unknown": [name for name in unknown if not name.startswith(AUXILIARY)],
        "of another shape": list(other.values()),
    }
    told = [f"{len(names)} {kind}, such as {names[0]}" for kind, names in kinds.items() if names]
    if told:
        raise UserError(f"{path} holds the weights of another network than --model names: {'; '.join(told)}")


def _in_todays_names(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """The state dict without what training wrapped around the network, in the names torchvision uses today."""
    # the version of each module, by which it knows an old state dict; safetensors files have none
    versions: dict[str, Any] = getattr(state, "_metadata", None) or getattr(wanted, "_metadata", {})
    while wrapper := next(
        (start for start in WRAPPERS if _all_begin(state, start) and not _all_begin(wanted, start)), ""
    ):
        state = {name.removeprefix(wrapper): value for name, value in state.items()}
        versions = {f"{name}.".removeprefix(wrapper).rstrip("."): value for name, value in versions.items()}
    # the published DenseNets say norm.1 where torchvision now says norm1
    dense = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")
    result = OrderedDict((dense.sub(r"\1", name), value) for name, value in state.items())
    result._metadata = versions  # type: ignore[attr-defined]
    return result


def _all_begin(state: Mapping[str, Tensor], start: str) -> bool:
    return bool(state) and all(name.startswith(start) for name in state)


def _read_state(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UserError(f"expected --weights to be default, none or an existing file, got {str(path)!r}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as on a pickle's protocol: whether it loads is told below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise a dozen kinds
        pickled = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if pickled:
            raise UserError(
                f"{path} holds a pickled {pickled[1]}, which could run any code and is not loaded; "
                "save the weights alone: torch.save(model.state_dict(), FILE)"
            ) from None
        reason = "no weights in it" if "Weights only load failed" in str(error) else _first_line(error)
        raise UserError(f"cannot read weights from {path}: damaged, or no weights file ({reason})") from None
    for key in NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        held = (
            f"a dict with {', '.join(map(repr, list(state)[:5]))}" if isinstance(state, dict) else type(state).__name__
        )
        raise UserError(f"expected {path} to hold a state dict (names to tensors), got {held}")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
