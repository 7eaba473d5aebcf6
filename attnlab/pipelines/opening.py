"""Data, models and attacks as a configuration names them, opened for a run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from attnlab.attacks import Attack, Attacks
from attnlab.attacks.parse import parse_attacks, parse_one
from attnlab.config.analyze import MapAttackOptions
from attnlab.config.evaluate import EvaluatedAttackOptions
from attnlab.config.sections import AttackOptions, DataOptions, ModelOptions, ModelsOptions, RunOptions
from attnlab.data import load_dataset
from attnlab.data.base import ImageSet
from attnlab.data.sampling import choose
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.pipelines import hardware
from attnlab.training.folder import tell_unfinished


class Images(NamedTuple):
    """The images of a run.

    Attributes:
        all: The image set.
        used: Indices of the images to use, rising.
        named: What the manifest says under "options" of them: of a set that was given, what can be vouched for.
    """

    all: ImageSet
    used: list[int]
    named: dict[str, str]


def ready_attack(options: MapAttackOptions, data: str) -> Attack:
    """The attack that options name, or the one that stands in a name's place.

    Raises:
        UserError: If a value is out of range, or a ready attack comes with options of its own.
    """
    if isinstance(options.name, str):
        named = parse_one(options.name, data, **options.strength())
        return replace(named, label_smoothing=options.label_smoothing)
    _check_alone(options, {"attack", "eps"})
    return options.name


def ready_attacks(options: EvaluatedAttackOptions, data: str) -> Attacks:
    """The attacks that options name, or those that stand in the names' place.

    Raises:
        UserError: If a value is out of range, there is no attack, or ready ones come with options of their own.
    """
    if isinstance(options.name, str):
        return parse_attacks(options.name, data, eps=options.eps, **options.strength())
    _check_alone(options, {"attacks", "transfer", "stop"})
    if not options.name:
        raise UserError("expected --attacks to name one or more, got none")
    return options.name


def _check_alone(options: AttackOptions, allowed: set[str]) -> None:
    """Refuse options of an attack's name beside an attack that is ready."""
    values = options.flat()
    given = [leaf.name for leaf in options.leaves() if values[leaf.name] != leaf.field.default]
    extra = [name for name in given if name not in allowed]
    if extra:
        raise UserError(f"expected {', '.join(extra)} with the name of an attack, got an attack that is ready")


def open_images(
    options: DataOptions, seed: int, images: ImageSet | None, positions: Sequence[int] | None, split: str
) -> Images:
    """The images that are given, or those of the options; `split` is for options that name none.

    Raises:
        UserError: If they cannot be had, or there are none.
    """
    named = {} if options.split is None else {"split": options.split}
    if images is None:
        images, named = load_dataset(options.name, options.root, options.split or split), {"split": split} | named
    used = choose(images, options.limit, stratify=options.stratify, seed=seed)
    named = {"data": options.name, **named} if images.name == options.name else {}
    return Images(images, used if positions is None else list(positions), named)


def open_model(name: str, weights: str, options: ModelOptions | ModelsOptions, run: RunOptions) -> Classifier:
    """A model on its device.

    Args:
        name: As of `load_model`, as the weights.
        weights: Likewise.
        options: What else is said of it.
        run: Where and how it runs.

    Raises:
        UserError: If it cannot be had.
    """
    classifier = load_model(
        name,
        weights,
        options.layer,
        mean=options.mean,
        std=options.std,
        weights_key=options.weights_key,
        trust_code=options.trust_code,
    ).place(hardware.choose_device(run.device), run.precision, run.memory_format)
    tell_unfinished(name if weights == "default" else weights)
    return classifier


def run_folder(*names: str) -> Path:
    """Folder of a run below runs/, named after what it is of."""
    return Path("runs") / "-".join(name.replace(":", "-") for name in names)
