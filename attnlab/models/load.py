"""From a name to a classifier: torchvision, timm, a user's own file, a checkpoint folder, or what is built in."""

import warnings
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnlab.compat import torchvision
from attnlab.errors import UserError, nearest
from attnlab.failures import one_line
from attnlab.models import BUILT_IN
from attnlab.models.checkpoint import DESCRIPTION, WEIGHTS, read_description
from attnlab.models.classifier import Classifier
from attnlab.models.names import unknown_model
from attnlab.models.normaliser import settle
from attnlab.models.own_code import build_from_file, check_trusted, code_hash, is_own_code
from attnlab.models.preprocessing import Statistic, size_of
from attnlab.models.weights import classes_of, load_state, read_weights
from attnlab.models.weights_fit import Fit, fit_weights
from attnlab.models.wrappers import unwrapped


def load_model(
    name: str = "resnet8",
    weights: str | Path = "default",
    layer: str | None = None,
    *,
    mean: Statistic | None = None,
    std: Statistic | None = None,
    seed: int = 0,
    weights_key: str | None = None,
    trust_code: bool = False,
) -> Classifier:
    """Build a classifier and give it weights.

    Args:
        name: A torchvision name, `timm:NAME`, `FILE.py:FUNCTION` (a function that returns an nn.Module, optionally
            with the attributes `attention_layer`, `mean`, `std`, `input_size`), a checkpoint folder, or a name in
            BUILT_IN. A folder that has a model's name is written ./NAME.
        weights: `default` (the library's own), `none` (random, from the seed), a .safetensors, .pth or .pt file, or a
            checkpoint folder, whose weights, layer and stated mean and std are taken; or the .index.json of a file in
            shards. A network of torchvision or timm has as many classes as its file's head.
        layer: Module that Grad-CAM reads, in place of the one found by itself.
        mean: What images are normalised with, of pixels in [0, 1], one or one a channel, in place of what the network,
            the checkpoint or a normaliser in the file of weights says; together with `std`.
        std: Likewise.
        seed: Of random weights.
        weights_key: Names the state dict of a file that holds several, or what its tensors' names begin with, or both
            with a dot between.
        trust_code: Run the file that a checkpoint folder names, if it names one; otherwise such a folder is refused.

    Returns:
        The classifier, on the CPU and in eval mode.

    Raises:
        UserError: If the name is unknown, weights cannot be had or belong to another network, could be one or another
            part of their file, or are normalised otherwise than the network says, the layer does not exist, a user's
            own function or network fails, or a checkpoint folder names code that is not trusted.
    """
    stated = {} if mean is None and std is None else {"mean": mean, "std": std}
    weights, folder = str(weights), Path(name)
    if name in _names() or not folder.is_dir():
        return _load(name, weights, layer, stated, seed, weights_key)
    description = read_description(folder)
    model, path = description["model"], folder / DESCRIPTION
    if model not in _names() and Path(model).is_dir():
        raise UserError(f"{path} is damaged: expected the name of a network under 'model', got {model!r}, a folder")
    own = weights == "default"
    check_trusted(model, path, trust_code, f"--model {model} --weights {folder if own else weights}")
    file, layer = str(folder / WEIGHTS) if own else weights, layer or description["layer"]
    try:
        classifier = _load(model, file, layer, description["stated"] | stated, 0, weights_key)
    except UserError as error:
        raise UserError(f"checkpoint {folder}: {error}") from None
    _compare_code(folder, description["code"], classifier.code)
    return classifier


def _load(
    name: str, weights: str, layer: str | None, stated: dict[str, Any], seed: int, weights_key: str | None
) -> Classifier:
    """Load anything but a checkpoint folder; `stated` holds some of STATED."""
    saved_code, folder = "", Path(weights)
    if weights not in ("default", "none") and folder.is_dir():
        description = read_description(folder)
        layer, saved_code, weights = layer or description["layer"], description["code"], str(folder / WEIGHTS)
        stated = description["stated"] | stated
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # random weights are the same in every run
        network, fit = _with_weights(name, weights, weights_key)
    network = network.cpu().eval()
    if fit:
        stated = settle(network, stated, fit.normalisers, fit.path, preset=not is_own_code(name), unseen=fit.unseen)
    try:
        classifier = Classifier(network, layer, **stated).eval()
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the network's own code, on images of a size or with channels it may not take
        if layer:
            raise UserError(
                f"cannot read layer {layer!r} of {name} ({one_line(error)}); name one that runs and gives a spatial map"
            ) from error
        _, (height, width) = size_of(network, stated.get("input_size"))
        raise UserError(
            f"expected {name} to take images (N, C, {height}, {width}) and return logits (N, K), got "
            f"{one_line(error)}; an attribute input_size = (height, width) of the network sets another size"
        ) from error
    classifier.code = code_hash(name)
    _compare_code(folder, saved_code, classifier.code)
    return classifier


def _compare_code(folder: Path, saved: str, now: str) -> None:
    """Warn where the file that builds a network is not the one that a checkpoint was saved with."""
    if saved and now != saved:
        warnings.warn(
            f"the code that builds the network of {folder} is not what it was when the checkpoint was saved; "
            "the results may be of another network",
            stacklevel=3,
        )


def runs_code(name: str) -> str:
    """FILE.py:FUNCTION that a model's name makes attnlab run: itself, or what a checkpoint folder names; else empty."""
    if name not in _names() and (Path(name) / DESCRIPTION).is_file():
        name = read_description(Path(name))["model"]
    return name if is_own_code(name) else ""


def weights_file(name: str) -> Path:
    """File of the trained weights of a built-in network, if it has any."""
    return Path(__file__).with_name(f"{name}.safetensors")


def _names() -> list[str]:
    return [*BUILT_IN, *torchvision.models.list_models(module=torchvision.models)]


def _with_weights(name: str, weights: str, key: str | None) -> tuple[nn.Module, Fit | None]:
    """The network with the weights asked for, and as many classes as their file has; what was found there."""
    if weights in ("default", "none"):
        if key is not None:
            raise UserError(f"expected --weights-key with a file as --weights, got {weights}")
        return unwrapped(_build(name, weights)), None
    file = read_weights(Path(weights), key)  # before anything is built: most often it is the file that is wrong
    network = unwrapped(_build(name, weights))
    adapts = not is_own_code(name) and name not in BUILT_IN
    fit = fit_weights(network, file, adapts=adapts)
    if adapts and (classes := classes_of(network, fit)):
        network = _build(name, weights, classes)
    load_state(network, fit)
    return network, fit


def _build(name: str, weights: str, classes: int | None = None) -> nn.Module:
    """The network, with its default weights where those are asked for, or for another number of classes."""
    if name in BUILT_IN:
        network = BUILT_IN[name]()
        if weights == "default":
            trained = weights_file(name)
            if not trained.is_file():
                raise UserError(
                    f"expected a checkpoint folder as --model, --weights FILE or --weights none, got {name} alone, "
                    "which has no trained weights of its own"
                )
            load_state(network, fit_weights(network, read_weights(trained)))
        return network
    if name in _names():
        return _from_torchvision(name, classes, pretrained=weights == "default")
    if name.startswith("timm:"):
        return _from_timm(name.removeprefix("timm:"), classes, pretrained=weights == "default")
    if is_own_code(name):
        return build_from_file(name)
    raise unknown_model(name, _names())


def _from_torchvision(name: str, classes: int | None, *, pretrained: bool) -> nn.Module:
    best = torchvision.models.get_model_weights(name).DEFAULT
    preset = best.transforms()
    options: dict[str, Any] = {}
    if not pretrained and name in ("inception_v3", "googlenet"):
        # what the weights would have set, and no slow initialisation
        options = {"aux_logits": False, "transform_input": True, "init_weights": False}
    if not pretrained and name.startswith("vit_"):
        options = {"image_size": preset.crop_size[0]}
    if classes is not None:
        options["num_classes"] = classes
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=best if pretrained else None, **options)
    except (OSError, HTTPException, RuntimeError) as error:  # no way there, cut off, a wrong hash
        if not pretrained:
            raise
        raise UserError(
            f"the weights of {name} could not be downloaded ({one_line(error)}); "
            f"fetch {best.url} elsewhere and pass it as --weights FILE"
        ) from None
    if name == "inception_v3":  # its weights bring a head for training only
        network.aux_logits, network.AuxLogits = False, None  # type: ignore[assignment]
    network.mean, network.std = tuple(preset.mean), tuple(preset.std)  # type: ignore[assignment]
    network.input_size = (preset.crop_size[0],) * 2  # type: ignore[assignment]
    return network


def _from_timm(name: str, classes: int | None, *, pretrained: bool) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise UserError("--model timm:NAME needs timm: pip install 'attnlab[timm]'") from None
    architecture, _, tag = name.partition(".")
    if architecture not in timm.list_models():
        raise UserError(f"expected a model of timm {timm.__version__}, got {name!r}{nearest(name, timm.list_models())}")
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        raise UserError(f"expected one of timm's weights {', '.join(tagged) or '(none)'}, got {name!r}")
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:  # the hub's client raises many kinds
        if not pretrained:
            raise
        raise UserError(
            f"the weights of timm:{name} could not be downloaded ({one_line(error)}); "
            "fetch its model.safetensors elsewhere and pass it as --weights FILE"
        ) from None
    preset: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    network.mean, network.std = preset["mean"], preset["std"]
    network.input_size = preset["input_size"][1:]
    return network
