"""Models and weights that belong together, and what tables call them."""

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from attnlab.errors import UserError
from attnlab.words import model_title

RESERVED = "transfer"  # what the manifest of a run calls the model that makes the adversarial images


class Pair(NamedTuple):
    """A model to load with its weights, and what it is called in records and tables."""

    label: str
    model: str
    weights: str


def pair_up(models: Sequence[str], weights: Sequence[str], names: Sequence[str] = ()) -> list[Pair]:
    """Put one or more models and their weights together, in their order, or raise a UserError where they do not fit.

    There may be no weights, one, or one for each model; of one model as many as one likes. `default` and `none` alone
    are for all models. Pairs are called by `names`, else after the models, and where those are the same, the weights.
    """
    given = list(weights) or ["default"]
    if len(given) == 1 and given[0] in ("default", "none"):
        given *= len(models)
    if len(models) == 1:
        models = [*models] * len(given)
    if len(models) != len(given):
        both = (f"{model or '?'} with {weight or '?'}" for model, weight in zip_longest(models, given))
        raise UserError(
            f"expected a --weights for each --model, or for one --model, got {len(models)} and {len(given)}: "
            f"{', '.join(both)}"
        )
    pairs = list(zip(models, given, strict=True))
    twice = [f"{model} with {weight}" for (model, weight), count in Counter(pairs).items() if count > 1]
    if twice:
        raise UserError(f"expected each --model once, or each time with other --weights, got {', '.join(twice)} again")
    labels = list(names) or _labels(pairs)
    if len(labels) != len(pairs):
        both = (
            f"{label or '?'} for {' with '.join(pair) if pair else '?'}" for label, pair in zip_longest(labels, pairs)
        )
        raise UserError(f"expected a --name for each model, got {len(labels)} for {len(pairs)}: {', '.join(both)}")
    wrong = [label for label, count in Counter(labels).items() if count > 1 or not label.strip() or label == RESERVED]
    if wrong:
        raise UserError(f"expected names that differ from each other and from {RESERVED!r}, got {wrong[0]!r}")
    return [Pair(label, model, weight) for label, (model, weight) in zip(labels, pairs, strict=True)]


def _labels(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """A name for each pair: the last part of the model's path, or of the weights', where that differs."""
    often = Counter(model for model, _ in pairs)
    ways = (
        [model_title(model) if often[model] == 1 else _stem(weight) for model, weight in pairs],
        [model if often[model] == 1 else weight for model, weight in pairs],
    )
    for labels in ways:
        if len(set(labels)) == len(labels) and RESERVED not in labels:
            return labels
    return [f"{model} {weight}" for model, weight in pairs]


def _stem(weights: str) -> str:
    path = Path(weights.removesuffix(".index.json"))
    return path.stem if path.suffix in (".pth", ".pt", ".safetensors", ".ckpt", ".bin", ".tar") else path.name
