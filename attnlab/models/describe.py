"""What a model is: its size, its images, how they are normalised, and which of its layers can be explained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnlab.models import BUILT_IN
from attnlab.models.checkpoint import DESCRIPTION, read_description
from attnlab.models.classifier import Classifier
from attnlab.models.layers import Layer, layers_of
from attnlab.models.names import plain_names
from attnlab.models.own_code import is_own_code
from attnlab.models.preprocessing import Values, said_by
from attnlab.models.zoos import ZOOS, find_zoo


@dataclass(frozen=True)
class ModelDescription:
    """A model as `attnlab models` shows it.

    Attributes:
        name: As the user writes it.
        source: What builds it.
        parameters: Number of its parameters.
        classes: Number of its classes.
        labels: Their names in the order of the logits; empty where the network does not know them.
        channels: Of its images.
        input_size: Height and width of its images in pixels.
        mean: What they are normalised with, of pixels in [0, 1], a value for each channel; 0 where nothing is done.
        std: Likewise; 1 where nothing is done.
        normalised_by: Who says so.
        layer: The layer that is read, as --layer takes it; None where there is none.
        notes: What was found while it was loaded.
        layers: All that can be explained, in the order in which they are computed.
    """

    name: str
    source: str
    parameters: int
    classes: int
    labels: tuple[str, ...]
    channels: int
    input_size: tuple[int, int]
    mean: Values
    std: Values
    normalised_by: str
    layer: str | None
    notes: tuple[str, ...]
    layers: tuple[Layer, ...]


def describe(
    classifier: Classifier, name: str, weights: str = "default", *, stated: bool = False, notes: Sequence[str] = ()
) -> ModelDescription:
    """Describe a classifier that `load_model(name, weights)` gave.

    `stated` says that the user gave mean and std; `notes` is what was warned of meanwhile.
    """
    mean, std = (tuple(map(float, buffer.flatten().tolist())) for buffer in (classifier.mean, classifier.std))  # type: ignore[operator]
    return ModelDescription(
        name=name,
        source=_source(name),
        parameters=sum(parameter.numel() for parameter in classifier.network.parameters()),
        classes=classifier.classes,
        labels=classifier.labels,
        channels=classifier.channels,
        input_size=classifier.input_size,
        mean=mean,
        std=std,
        normalised_by="--mean and --std" if stated else _normalised_by(classifier, name, weights),
        layer=classifier.layer,
        notes=tuple(dict.fromkeys(notes)),
        layers=tuple(layers_of(classifier)),
    )


def _network_of(name: str) -> str:
    """The model's name, or the one that a checkpoint folder says it is of."""
    if name not in plain_names() and (Path(name) / DESCRIPTION).is_file():
        return str(read_description(Path(name))["model"])
    return name


def _source(name: str) -> str:
    """What builds the network, in words."""
    network = _network_of(name)
    if network != name:
        return f"checkpoint folder of {network}, {_source(network)}"
    return "a file of your own" if is_own_code(name) else "attnlab" if name in BUILT_IN else _zoo(name)


def _zoo(name: str) -> str:
    """Name of the zoo."""
    found = find_zoo(name)
    return next((zoo for zoo, known in ZOOS.items() if found and known is found[0]), "")


def _normalised_by(classifier: Classifier, name: str, weights: str) -> str:
    """Who says how images are normalised, where the user does not."""
    own, plain = said_by(classifier.network)
    if "mean" in classifier.stated:
        return str(weights) if weights not in ("default", "none") else name  # the file's normaliser, or the checkpoint
    if own:
        return "the network itself"
    return (_zoo(_network_of(name)) or "the network") if plain else "nobody: they are not normalised"
