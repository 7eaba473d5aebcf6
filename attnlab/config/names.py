"""Names of every kind, for options that complete and check them, and defaults that depend on the data set, in words."""

from collections.abc import Callable, Collection

from attnlab.attacks.parse import OTHERS, known_attacks
from attnlab.attention import CLASSES, METHODS
from attnlab.data import DATASETS, GEOMETRIES, DatasetSpec, split_names
from attnlab.models import BUILT_IN, DEVICES
from attnlab.training.parse import known_defenses
from attnlab.training.recipes import AUGMENTATIONS, OPTIMIZERS, SCHEDULES
from attnlab.words import as_fraction

#: kind -> its names, or what tells them
KINDS: dict[str, Collection[str] | Callable[[], list[str]]] = {
    "data": DATASETS,
    "splits": split_names,
    "geometries": GEOMETRIES,
    "models": BUILT_IN,
    "devices": DEVICES,
    "methods": METHODS,
    "targets": CLASSES,
    "attacks": known_attacks,
    "others": OTHERS,
    "defenses": known_defenses,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
    "augmentations": AUGMENTATIONS,
}


def known_names(kind: str) -> list[str]:
    """Names of a kind in KINDS."""
    names = KINDS[kind]
    return names() if callable(names) else list(names)


def by_data(value_of: Callable[[DatasetSpec], str]) -> str:
    """A default that depends on the data set, for help: `0.3 for mnist, 16/255 for others`; empty ones are left out."""
    data: dict[str, list[str]] = {}
    for name, spec in DATASETS.items():
        data.setdefault(value_of(spec), []).append(name)
    usual = max(data, key=lambda value: len(data[value]))
    told = [f"{value} for {' and '.join(names)}" for value, names in data.items() if value not in ("", usual)]
    return ", ".join([*told, f"{usual} for others"] if usual else told)


def length(value: float) -> str:
    """A number of pixels in [0, 1] as people write it: 0.3, 8/255."""
    return as_fraction(value) if round(100 * value, 9) % 1 else f"{value:g}"
