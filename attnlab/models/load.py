"""From a name to a classifier: torchvision, timm, a user's own file, a checkpoint folder, or what is built in."""

import hashlib
import importlib.util
import sys
import tokenize
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnlab.compat import torchvision
from attnlab.errors import UserError, nearest
from attnlab.models.checkpoint import WEIGHTS, load_weights, read_description
from attnlab.models.classifier import Classifier
from attnlab.models.lenet import LeNet
from attnlab.models.preprocessing import Statistic, size_of
from attnlab.models.resnet8 import ResNet8
from attnlab.models.resnet9 import ResNet9
from attnlab.models.wrappers import unwrapped
from attnlab.names import unknown_model

#: name -> function that builds the network; its trained weights, if there are any, lie beside this file
BUILT_IN: dict[str, Callable[[], nn.Module]] = {"resnet8": ResNet8, "lenet": LeNet, "resnet9": ResNet9}


def load_model(
    name: str = "resnet8",
    weights: str | Path = "default",
    layer: str | None = None,
    *,
    mean: Statistic | None = None,
    std: Statistic | None = None,
    seed: int = 0,
) -> Classifier:
    """Build a classifier and give it weights.

    Args:
        name: A torchvision name, `timm:NAME`, `FILE.py:FUNCTION` (a function that returns an nn.Module, optionally
            with the attributes `attention_layer`, `mean`, `std`, `input_size`), a checkpoint folder, or a name in
            BUILT_IN. A folder that has a model's name is written ./NAME.
        weights: `default` (the library's own), `none` (random, from the seed), or a .safetensors, .pth or .pt file.
        layer: Module that Grad-CAM reads, in place of the one found by itself.
        mean: What images are normalised with, of pixels in [0, 1], one or one a channel, in place of what the network
            or the checkpoint says; together with `std`.
        std: Likewise.
        seed: Of random weights.

    Returns:
        The classifier, on the CPU and in eval mode.

    Raises:
        UserError: If the name is unknown, weights cannot be had or belong to another network, the layer does not
            exist, or a user's own function or network fails.
    """
    weights = str(weights)
    if name not in _names() and Path(name).is_dir():
        description = read_description(Path(name))
        own = Path(name) / WEIGHTS
        if mean is None and std is None:
            mean, std = description["mean"], description["std"]
        return load_model(
            description["model"],
            own if weights == "default" else weights,
            layer or description["layer"],
            mean=mean,
            std=std,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # random weights are the same in every run
        network = unwrapped(_build(name, weights)).cpu().eval()
    if weights not in ("default", "none"):
        load_weights(network, Path(weights))
    try:
        classifier = Classifier(network, layer, mean=mean, std=std).eval()
    except UserError:
        raise
    except Exception as error:  # the network's own code, on images of a size or with channels it may not take
        if layer:
            raise UserError(
                f"cannot read layer {layer!r} of {name} ({_told(error)}); name one that runs and gives a spatial map"
            ) from error
        _, (height, width) = size_of(network)
        raise UserError(
            f"expected {name} to take images (N, C, {height}, {width}) and return logits (N, K), got {_told(error)}; "
            "an attribute input_size = (height, width) of the network sets another size"
        ) from error
    classifier.code = _code(name)
    return classifier


def weights_file(name: str) -> Path:
    """Where the trained weights of a built-in network lie, if it has any."""
    return Path(__file__).with_name(f"{name}.safetensors")


def _names() -> list[str]:
    return [*BUILT_IN, *torchvision.models.list_models(module=torchvision.models)]


def _build(name: str, weights: str) -> nn.Module:
    """The network, with its default weights where those are asked for."""
    if name in BUILT_IN:
        network = BUILT_IN[name]()
        if weights == "default":
            trained = weights_file(name)
            if not trained.is_file():
                raise UserError(
                    f"expected a checkpoint folder as --model, --weights FILE or --weights none, got {name} alone, "
                    "which has no trained weights of its own"
                )
            load_weights(network, trained)
        return network
    if name in _names():
        return _from_torchvision(name, pretrained=weights == "default")
    if name.startswith("timm:"):
        return _from_timm(name.removeprefix("timm:"), pretrained=weights == "default")
    if ".py:" in name:
        return _from_file(name)
    raise unknown_model(name, _names())


def _code(name: str) -> str:
    """SHA-256 of a user's own file, comments and empty lines aside; empty for other models."""
    path = Path(name.rpartition(":")[0])
    if path.suffix != ".py":
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING):
                digest.update(f"{token.string}\n".encode())
    return digest.hexdigest()


def _from_torchvision(name: str, *, pretrained: bool) -> nn.Module:
    best = torchvision.models.get_model_weights(name).DEFAULT
    preset = best.transforms()
    options: dict[str, Any] = {}
    if not pretrained and name in ("inception_v3", "googlenet"):
        # what the weights would have set, and no slow initialisation
        options = {"aux_logits": False, "transform_input": True, "init_weights": False}
    if not pretrained and name.startswith("vit_"):
        options = {"image_size": preset.crop_size[0]}
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=best if pretrained else None, **options)
    except (OSError, HTTPException, RuntimeError) as error:  # no way there, cut off, a wrong hash
        if not pretrained:
            raise
        raise UserError(
            f"the weights of {name} could not be downloaded ({_told(error)}); "
            f"fetch {best.url} elsewhere and pass it as --weights FILE"
        ) from None
    if name == "inception_v3":  # its weights bring a head for training only
        network.aux_logits, network.AuxLogits = False, None  # type: ignore[assignment]
    network.mean, network.std = tuple(preset.mean), tuple(preset.std)  # type: ignore[assignment]
    network.input_size = (preset.crop_size[0],) * 2  # type: ignore[assignment]
    return network


def _from_timm(name: str, *, pretrained: bool) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise UserError("--model timm:NAME needs timm: pip install 'attnlab[timm]'") from None
    architecture, _, tag = name.partition(".")
    if architecture not in timm.list_models():
        raise UserError(f"expected a model of timm {timm.__version__}, got {name!r}{nearest(name, timm.list_models())}")
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        raise UserError(f"expected one of timm's weights {', '.join(tagged) or '(none)'}, got {name!r}")
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained)
    except Exception as error:  # the hub's client raises many kinds
        if not pretrained:
            raise
        raise UserError(
            f"the weights of timm:{name} could not be downloaded ({_told(error)}); "
            "fetch its model.safetensors elsewhere and pass it as --weights FILE"
        ) from None
    preset: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    network.mean, network.std = preset["mean"], preset["std"]
    network.input_size = preset["input_size"][1:]
    return network


def _from_file(name: str) -> nn.Module:
    path_text, _, function = name.rpartition(":")
    path = Path(path_text).resolve()
    if not path.is_file():
        raise UserError(f"expected --model FILE.py:FUNCTION with an existing file, got {path_text!r}")
    sys.path.insert(0, str(path.parent))  # the file may import its neighbours, as a script may
    try:
        network = _call(path, function)
    except UserError:
        raise
    except Exception as error:  # whatever the user's own code raises
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        raise UserError(f"cannot build {name}: {_told(error)} ({path.name}, line {line})") from error
    finally:
        with suppress(ValueError):
            sys.path.remove(str(path.parent))
    if not isinstance(network, nn.Module):
        raise UserError(f"expected {name} to return an nn.Module, got {type(network).__name__}")
    return network


def _call(path: Path, function: str) -> object:
    """What the function of that file returns."""
    spec = importlib.util.spec_from_file_location(f"attnlab_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    found = getattr(module, function, None)
    if not callable(found):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == spec.name]
        listed = ", ".join(own) or "none"
        raise UserError(f"expected a function of {path.name} ({listed}), got {function!r}{nearest(function, own)}")
    return found()


def _told(error: Exception) -> str:
    """An error of other people's code, as one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
