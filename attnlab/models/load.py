"""From a name to a classifier: torchvision, timm, a user's own file, a checkpoint folder, or what is built in."""

import importlib.util
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from attnlab.compat import torchvision
from attnlab.errors import UserError, expect_one_of
from attnlab.models.checkpoint import WEIGHTS, read_description
from attnlab.models.classifier import Classifier
from attnlab.models.resnet8 import ResNet8

#: name -> function that builds the network; its trained weights, if there are any, lie beside this file
BUILT_IN: dict[str, Callable[[], nn.Module]] = {"resnet8": ResNet8}

HELP = "a torchvision name, timm:NAME, FILE.py:FUNCTION, a checkpoint folder, or one of attnlab's own"


def load_model(name: str = "resnet8", weights: str | Path = "default", layer: str | None = None) -> Classifier:
    """Build a classifier and give it weights.

    Args:
        name: A torchvision name, `timm:NAME`, `FILE.py:FUNCTION` (a function that returns an nn.Module, optionally
            with the attributes `attention_layer`, `mean`, `std`, `input_size`), a checkpoint folder, or a name in
            BUILT_IN.
        weights: `default` (the library's own), `none` (random, from seed 0), or a .safetensors, .pth or .pt file.
        layer: Module that Grad-CAM reads, in place of the one found by itself.

    Returns:
        The classifier, in eval mode.

    Raises:
        UserError: If the name is unknown, weights cannot be had or belong to another network, or the layer does not
            exist.
    """
    weights = str(weights)
    if Path(name).is_dir():
        description = read_description(Path(name))
        own = Path(name) / WEIGHTS
        return load_model(description["model"], own if weights == "default" else weights, layer or description["layer"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are the same in every run
        network = _build(name, weights)
    if weights not in ("default", "none"):
        _load_weights(network, Path(weights))
    return Classifier(network.eval(), layer).eval()


def _build(name: str, weights: str) -> nn.Module:
    """The network, with its default weights where those are asked for."""
    if name in BUILT_IN:
        network = BUILT_IN[name]()
        if weights == "default":
            _load_weights(network, Path(__file__).with_name(f"{name}.safetensors"))
        return network
    if name.startswith("timm:"):
        return _from_timm(name.removeprefix("timm:"), pretrained=weights == "default")
    if ".py:" in name:
        return _from_file(name)
    known = torchvision.models.list_models(module=torchvision.models)
    try:
        expect_one_of(name, [*BUILT_IN, *known], "--model")
    except UserError as error:
        near = f"; did{str(error).rpartition('; did')[2]}" if "; did" in str(error) else ""
        raise UserError(f"expected --model to be {HELP} ({', '.join(BUILT_IN)}), got {name!r}{near}") from None
    return _from_torchvision(name, pretrained=weights == "default")


def _from_torchvision(name: str, *, pretrained: bool) -> nn.Module:
    best = torchvision.models.get_model_weights(name).DEFAULT
    options: dict[str, Any] = {"aux_logits": False} if name in ("inception_v3", "googlenet") else {}
    if options and not pretrained:  # what the weights would have set, and no slow initialisation
        options |= {"transform_input": True, "init_weights": False}
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=best if pretrained else None, **options)
    except (URLError, OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise UserError(
            f"the weights of {name} could not be downloaded ({' '.join(str(error).split())}); "
            f"fetch {best.url} elsewhere and pass it as --weights FILE"
        ) from None
    preset = best.transforms()
    network.mean, network.std = tuple(preset.mean), tuple(preset.std)  # type: ignore[assignment]
    network.input_size = (preset.crop_size[0],) * 2  # type: ignore[assignment]
    return network


def _from_timm(name: str, *, pretrained: bool) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise UserError("--model timm:NAME needs timm: pip install 'attnlab[timm]'") from None
    if name.partition(".")[0] not in timm.list_models():
        expect_one_of(name, timm.list_models(), "timm model")
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained)
    except Exception as error:  # the hub's client raises many kinds
        if not pretrained:
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the weights of timm:{name} could not be downloaded ({reason}); "
            "fetch its model.safetensors elsewhere and pass it as --weights FILE"
        ) from None
    preset: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    network.mean, network.std = preset["mean"], preset["std"]
    network.input_size = preset["input_size"][1:]
    return network


def _from_file(name: str) -> nn.Module:
    path_text, _, function = name.rpartition(":")
    path = Path(path_text)
    if not path.is_file():
        raise UserError(f"expected --model FILE.py:FUNCTION with an existing file, got {path_text!r}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    network = getattr(module, expect_one_of(function, functions, f"the function in {path.name}"))()
    if not isinstance(network, nn.Module):
        raise UserError(f"expected {name} to return an nn.Module, got {type(network).__name__}")
    return network


def _load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict; auxiliary heads that the network does without are left out.

    Raises:
        UserError: If the file cannot be read or holds the weights of another network.
    """
    state = {name.removeprefix("module."): value for name, value in _read_state(path).items()}
    wanted = network.state_dict()
    surplus = [name for name in state if name not in wanted and not name.startswith(("AuxLogits.", "aux1.", "aux2."))]
    missing = [name for name in wanted if name not in state]
    other = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    if surplus or missing or other:
        kinds = {"missing": missing, "unknown": surplus, "of another shape": other}
        told = "; ".join(f"{len(names)} {kind}, such as {names[0]}" for kind, names in kinds.items() if names)
        raise UserError(f"{path} holds the weights of another network: {told}")
    network.load_state_dict({name: state[name] for name in wanted})


def _read_state(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UserError(f"expected --weights to be default, none or an existing file, got {str(path)!r}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise UserError(f"cannot read weights from {path}: {str(error).splitlines()[0]}") from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"expected {path} to hold a state dict of tensors, got {type(state).__name__}")
    return state
