"""Data, models and attacks as a configuration names them, opened for a run."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnlab.attacks import Attack
from attnlab.attacks.corruptions import Corruption, is_corruption, one_corruption
from attnlab.attacks.others import Attacks
from attnlab.attacks.parse import parse_attacks, parse_one
from attnlab.attention import METHODS
from attnlab.config.analyze import MapAttackOptions
from attnlab.config.attack import AttackOptions
from attnlab.config.evaluate import EvaluatedAttackOptions
from attnlab.config.sections import DataOptions, ModelOptions, ModelsOptions, RunOptions
from attnlab.data import load_dataset
from attnlab.data.base import ImageSet
from attnlab.data.sampling import choose
from attnlab.errors import UserError
from attnlab.failures import naming
from attnlab.manifests import recorded
from attnlab.models import Classifier, load_model
from attnlab.models.classifier import NOISE
from attnlab.models.describe import ModelDescription, describe
from attnlab.models.preprocessing import said_by
from attnlab.pipelines import hardware
from attnlab.pipelines.memory import keep_freed
from attnlab.training.folder import tell_unfinished


def ready_attack(options: MapAttackOptions, data: str, methods: Sequence[str] = ()) -> Attack | Corruption:
    """The attack or corruption that options name, or the one in a name's place, which comes with no options of its own.

    One on maps is of --explain-method, or of the first of the `methods` whose maps have a gradient.
    """
    if isinstance(options.name, str) and is_corruption(options.name):
        _check_alone(options, {"attack"}, f"the corruption {options.name}, which has a severity alone")
        return one_corruption(options.name)
    if isinstance(options.name, str):
        able = (method for method in methods if METHODS[method].differentiable)
        first = options.eps[0] if options.eps else None
        named = parse_one(options.name, data, eps=first, **options.strength(next(able, None)))
        return replace(named, label_smoothing=options.label_smoothing)
    alike = {"norm"} if options.norm == options.name.norm else set()
    _check_alone(options, {"attack", "eps"} | alike)
    return options.name


def ready_attacks(options: EvaluatedAttackOptions, data: str) -> Attacks:
    """The attacks that options name, or those that stand in the names' place and come with no options of their own."""
    if isinstance(options.name, str):
        return parse_attacks(options.name, data, eps=options.eps, **options.strength())
    _check_alone(options, {"attacks", "transfer", "stop"})
    if not options.name:
        raise UserError("expected --attacks to name one or more, got none")
    return options.name


def _check_alone(options: AttackOptions, allowed: set[str], got: str = "an attack that is ready") -> None:
    """Refuse options of an attack's name beside an attack that is ready, or a corruption."""
    values = options.flat()
    given = [leaf.name for leaf in options.leaves() if values[leaf.name] != leaf.field.default]
    extra = [name for name in given if name not in allowed]
    if extra:
        raise UserError(f"expected {', '.join(extra)} with the name of an attack, got {got}")


def open_images(
    options: DataOptions, seed: int, images: ImageSet | None, positions: Sequence[int] | None, split: str
) -> tuple[ImageSet, list[int], dict[str, str]]:
    """The images given, or those of the options; indices of those to use, rising; what run.json says of them.

    Of a set that was given it is what can be vouched for. `split` is for options that name none.
    """
    named = {} if options.split is None else {"split": options.split}
    named |= {} if options.label is None else {"label": options.label}
    if images is None:
        images = load_dataset(options.name, options.root, options.split or split, options.label)
        named = {"split": split} | named
    used = choose(images, options.limit, stratify=options.stratify, seed=seed)
    named = {"data": options.name, **named} if images.name == options.name else {}
    return images, used if positions is None else list(positions), named


def load_as_asked(
    name: str, weights: str, options: ModelOptions | ModelsOptions, seed: int = 0, classes: int | None = None
) -> Classifier:
    """`load_model` with what options say beside name and weights."""
    same = {
        field: getattr(options, field) for field in ("layer", "mean", "std", "channels", "weights_key", "trust_code")
    }
    return load_model(name, weights, seed=seed, classes=classes, **same)


def describe_as_asked(options: ModelOptions) -> ModelDescription:
    """Describe the model of options; what would be warned of while it is loaded is among its notes."""
    name, weights = options.name or "", options.weights or "default"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        classifier = load_as_asked(name, weights, options)
        classifier.warn_of_maps()
    notes = [" ".join(str(warning.message).split()) for warning in told if warning.category is UserWarning]
    with naming(NOISE):
        return describe(classifier, name, weights, stated=options.mean is not None, notes=notes)


def open_model(name: str, weights: str, options: ModelOptions | ModelsOptions, run: RunOptions) -> Classifier:
    """A model on its device, in a process that is ready for many batches."""
    keep_freed()
    classifier = load_as_asked(name, weights, options)
    classifier = classifier.place(hardware.own_device(run.device), run.precision, run.memory_format)
    tell_unfinished(name if weights == "default" else weights)
    return classifier


def load_source(
    option: str, name: str, layer: str | None = None, *, stated: bool = False, trust_code: bool = False
) -> Classifier:
    """A model that an option names to make adversarial images for others, normalised as it says itself.

    Warn if it states none, where `stated` says that there are --mean and --std, which are for --model alone.
    """
    try:
        source = load_model(name, layer=layer, trust_code=trust_code)
    except UserError as error:
        raise UserError(f"{option} {name}: {error}") from None
    if stated and not source.stated and said_by(source.network) == ([], {}):
        warnings.warn(
            f"{option} {name} says no mean and std of its own, so its images are not normalised: --mean and --std are "
            "for --model alone; if it needs others, set mean and std on the network in its FILE.py",
            stacklevel=2,
        )
    return source


def settled(run: RunOptions, out: Path, classifier: Classifier, images: ImageSet, lime: bool) -> dict[str, Any]:
    """Values of options that the user left open; a run that is resumed keeps its batch size."""
    size = run.batch_size or recorded(out, "batch_size")
    return {
        "out": out,
        "workers": hardware.workers(images, lime) if run.workers is None else run.workers,
        "batch_size": size or hardware.batch_size(classifier.device, classifier.input_size),
    }


def run_folder(data: str, part: str, *names: str) -> Path:
    """Folder of a run below runs/, named after what it is of; a slash in `data` or `part` begins no folder."""
    own = (text.replace("/", "-") for text in (data, part))
    return Path("runs") / "-".join(name.replace(":", "-") for name in (*own, *names))
