"""From a name to a classifier: a model zoo's, a user's own file, a checkpoint folder, or what is built in."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnlab.compat import torchvision  # noqa: F401 - zoos and users' own code import it, see there
from attnlab.errors import UserError
from attnlab.failures import one_line
from attnlab.models import BUILT_IN
from attnlab.models.checkpoint import DESCRIPTION, checked_weights, read_description
from attnlab.models.classifier import Classifier
from attnlab.models.names import plain_names, unknown_model
from attnlab.models.normaliser import settle
from attnlab.models.own_code import build_from_file, check_trusted, code_hash, is_code, is_own_code
from attnlab.models.preprocessing import Statistic, said_by, size_of
from attnlab.models.weights import classes_of, load_state, read_weights, renamed
from attnlab.models.weights_fit import Fit, fit_weights
from attnlab.models.wrappers import unwrapped
from attnlab.models.zoos import Wanted, find_zoo


def load_model(
    name: str = "resnet8",
    weights: str | Path = "default",
    layer: str | None = None,
    *,
    mean: Statistic | None = None,
    std: Statistic | None = None,
    channels: int | None = None,
    seed: int = 0,
    weights_key: str | None = None,
    trust_code: bool = False,
    classes: int | None = None,
) -> Classifier:
    """Build a classifier and give it weights.

    Args:
        name: A name of one of ZOOS, such as `resnet50` or `timm:NAME`, `FILE.py:FUNCTION` (a function that returns an
            nn.Module, optionally with the attributes `attention_layer`, `mean`, `std`, `input_size`), a checkpoint
            folder, or a name in BUILT_IN. A folder that has a model's name is written ./NAME.
        weights: `default` (the library's own), `none` (random, from the seed), a .safetensors, .pth or .pt file, or a
            checkpoint folder, whose weights, layer and stated mean and std are taken; or the .index.json of a file in
            shards. A network of a zoo or in BUILT_IN has as many classes as its file's head, see `Zoo.adapts`.
        layer: Module that Grad-CAM reads, in place of the one found by itself.
        mean: What images are normalised with, of pixels in [0, 1], one or one a channel, in place of what the network,
            the checkpoint or a normaliser in the file of weights says; together with `std`.
        std: Likewise.
        channels: Number of channels of its images, as of `Classifier`.
        seed: Of random weights.
        weights_key: Names the state dict of a file that holds several, or what its tensors' names begin with, or both
            with a dot between.
        trust_code: Run the file that a checkpoint folder names, and code that a model of `torchhub:` or `hf:` brings;
            otherwise these are refused.
        classes: Number of classes of random weights, in place of the network's own; a FILE.py's has its own.

    Returns:
        The classifier, on the CPU and in eval mode.

    Raises:
        UserError: If the name is unknown, weights cannot be had or belong to another network, could be one or another
            part of their file, or are normalised otherwise than the network says, the layer does not exist, a user's
            own function or network fails, or a checkpoint folder names code that is not trusted
            or other weights than it holds.
    """
    stated: dict[str, Any] = {} if mean is None and std is None else {"mean": mean, "std": std}
    stated |= {} if channels is None else {"channels": channels}
    weights, folder = str(weights), Path(name)
    if name in plain_names() or not folder.is_dir():
        return _load(name, weights, layer, stated, seed, weights_key, trust_code, classes)
    description = read_description(folder)
    model, path = description["model"], folder / DESCRIPTION
    if model not in plain_names() and Path(model).is_dir():
        raise UserError(f"{path} is damaged: expected the name of a network under 'model', got {model!r}, a folder")
    own = weights == "default"
    check_trusted(model, path, trust_code, f"--model {model} --weights {folder if own else weights}")
    layer = layer or description["layer"]
    try:
        file = str(checked_weights(folder)) if own else weights
        labels = description["labels"] if own else ()
        classifier = _load(
            model, file, layer, description["stated"] | stated, 0, weights_key, trust_code, labels=labels
        )
    except UserError as error:
        raise UserError(f"checkpoint {folder}: {error}") from None
    _compare_code(folder, description["code"], classifier.code)
    return classifier


def _load(
    name: str,
    weights: str,
    layer: str | None,
    stated: dict[str, Any],
    seed: int,
    weights_key: str | None,
    trust_code: bool,
    classes: int | None = None,
    labels: tuple[str, ...] = (),
) -> Classifier:
    """Load anything but a checkpoint folder; `stated` holds some of STATED, `labels` counts before the network's."""
    saved_code, folder = "", Path(weights)
    if weights not in ("default", "none") and folder.is_dir():
        description = read_description(folder)
        labels = description["labels"]
        layer, saved_code, weights = layer or description["layer"], description["code"], str(checked_weights(folder))
        stated = description["stated"] | stated
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # random weights are the same in every run
        classes = classes if weights == "none" else None
        wanted = Wanted(name, weights == "default", classes, trust_code, stated.get("channels"))
        network, fit = _with_weights(wanted, weights, weights_key)
    network = network.cpu().eval()
    if labels:
        network.labels = labels  # type: ignore[assignment]
    if fit:
        stated = settle(network, stated, fit.normalisers, fit.path, preset=not is_own_code(name), unseen=fit.unseen)
    if ":" in name and not is_own_code(name) and "mean" not in stated and said_by(network) == ([], {}):
        warnings.warn(  # FILE.py's are as they say
            f"{name} says no mean and std, so its images are not normalised; --mean and --std say otherwise",
            stacklevel=2,
        )
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
            f"{one_line(error)}; an attribute input_size = (height, width) of the network sets another size, "
            "--channels another number of channels"
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
    """Model whose name makes attnlab run code: this one, or the one that a checkpoint folder names; else empty."""
    if name not in plain_names() and (Path(name) / DESCRIPTION).is_file():
        name = read_description(Path(name))["model"]
    return name if is_code(name) else ""


def weights_file(name: str) -> Path:
    """File of the trained weights of a built-in network, if it has any."""
    return Path(__file__).with_name(f"{name}.safetensors")


def _with_weights(wanted: Wanted, weights: str, key: str | None) -> tuple[nn.Module, Fit | None]:
    """The network with the weights asked for, and as many classes as their file has; what was found there."""
    name = wanted.name
    if weights in ("default", "none"):
        if key is not None:
            raise UserError(f"expected --weights-key with a file as --weights, got {weights}")
        return unwrapped(_build(name, wanted)), None
    file = read_weights(Path(weights), key)  # before anything is built: most often it is the file that is wrong
    network = unwrapped(_build(name, wanted))
    file = renamed(file, getattr(network, "names_in_files", {}))
    zoo = find_zoo(name)
    adapts = name in BUILT_IN or (zoo is not None and zoo[0].adapts)
    fit = fit_weights(network, file, adapts=adapts)
    if adapts and (classes := classes_of(network, fit)):
        network = unwrapped(_build(name, replace(wanted, classes=classes)))
    load_state(network, fit)
    return network, fit


def _build(name: str, wanted: Wanted) -> nn.Module:
    """The network of attnlab's own, of a zoo or of a user's file."""
    if name in BUILT_IN:
        return _built_in(name, wanted)
    if found := find_zoo(name):
        zoo, inner = found
        return zoo.build(replace(wanted, name=inner))
    if is_own_code(name):
        return build_from_file(name)
    raise unknown_model(name)


def _built_in(name: str, wanted: Wanted) -> nn.Module:
    network = BUILT_IN[name](**({} if wanted.classes is None else {"classes": wanted.classes}))
    if wanted.pretrained:
        trained = weights_file(name)
        if not trained.is_file():
            raise UserError(
                f"expected a checkpoint folder as --model, --weights FILE or --weights none, got {name} alone, "
                "which has no trained weights of its own"
            )
        load_state(network, fit_weights(network, read_weights(trained)))
    return network
