"""Names of every kind, for options that complete and check them, and defaults that depend on the data set, in words."""

from collections.abc import Callable, Collection

from attnlab.attacks import ATTACKS, DISTANCES
from attnlab.attacks.corruptions import ALL as ALL_CORRUPTIONS
from attnlab.attacks.corruptions import known_corruptions
from attnlab.attacks.limits import LEAST_LIKELY, LIKELY
from attnlab.attacks.norms import NORMS
from attnlab.attacks.parse import attack_names, iterative_attacks, known_attacks, map_attacks, other_names
from attnlab.attention import CLASSES, METHODS
from attnlab.data import DATASETS, RESIZINGS, split_names
from attnlab.data.spec import DatasetSpec
from attnlab.errors import check_one_of
from attnlab.measures import ALL, MEASURES
from attnlab.models import DEVICES
from attnlab.models.names import MODEL_HELP, plain_names
from attnlab.registry import Registry
from attnlab.training import ATTENTION_LOSSES, CLASSIFICATIONS, DEFENSES, FILLS
from attnlab.training.parse import defense_names, known_defenses
from attnlab.training.recipes import AUGMENTATIONS, OPTIMIZERS, SCHEDULES, all_plans
from attnlab.words import as_fraction, listed

#: kind -> its names, or a function that lists them
KINDS: dict[str, Collection[str] | Callable[[], list[str]]] = {
    "data": DATASETS,
    "splits": split_names,
    "resizings": RESIZINGS,
    "models": plain_names,
    "devices": DEVICES,
    "methods": METHODS,
    "measures": lambda: [*MEASURES, ALL],
    "targets": CLASSES,
    "attacks": known_attacks,
    "others": other_names,
    "corruptions": lambda: [ALL_CORRUPTIONS, *known_corruptions()],
    "distances": DISTANCES,
    "aims": [LEAST_LIKELY, f"{LIKELY}2"],
    "norms": NORMS,
    "defenses": known_defenses,
    "attention losses": ATTENTION_LOSSES,
    "classifications": CLASSIFICATIONS,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
    "augmentations": AUGMENTATIONS,
}


def known_names(kind: str) -> list[str]:
    """Names of a kind in KINDS."""
    names = KINDS[kind]
    return names() if callable(names) else list(names)


def check_known(kind: str, name: str, flag: str) -> None:
    """Refuse what is no name of a kind in KINDS."""
    names = KINDS[kind]
    if isinstance(names, Registry):
        names.expect(name, flag)
    else:
        check_one_of(name, known_names(kind), flag)


def by_data(value_of: Callable[[DatasetSpec], str]) -> str:
    """A default that depends on the data set, for help: `0.3 for mnist, 16/255 for others`; empty ones are left out."""
    data: dict[str, list[str]] = {}
    for name, spec in DATASETS.items():
        data.setdefault(value_of(spec), []).append(name)
    usual = max(data, key=lambda value: len(data[value]))
    texts = [f"{value} for {listed(names)}" for value, names in data.items() if value not in ("", usual)]
    return ", ".join([*texts, f"{usual} for others"] if usual else texts)


def length(value: float) -> str:
    """A number of pixels in [0, 1] as people write it: 0.3, 8/255."""
    return as_fraction(value) if round(100 * value, 9) % 1 else f"{value:g}"


def implied_by(attention_loss: str) -> str:
    """Defaults that `--attention-loss` implies: `alpha 0.01, beta 0.01, fill black`."""
    implied = ATTENTION_LOSSES[attention_loss].implies
    values = (f"{value:g}" if isinstance(value, float) else value for value in implied.values())
    return ", ".join(f"{field.replace('_', ' ')} {value}" for field, value in zip(implied, values, strict=True))


#: what `{name}` stands for in the help of options
WORDS = {
    "attacks": ", ".join(attack_names()),
    "iterative": ", ".join(iterative_attacks()),
    "starting": " and ".join(name for name, attack in ATTACKS.items() if attack.random_start),
    "targetable": listed([name for name, attack in ATTACKS.items() if attack.targetable]),
    "map_attacks": " and ".join(map_attacks()),
    "holding": " and ".join(name for name, attack in ATTACKS.items() if attack.holds == "prediction"),
    "distances": ", ".join(DISTANCES),
    "norms": " or ".join(NORMS),
    "distance": " and ".join(f"{ATTACKS[name].distance} for {name}" for name in map_attacks()),
    "targets": listed(
        [
            *(f"{spec.target} for {name}" for name, spec in METHODS.items() if spec.target != CLASSES[0]),
            f"{CLASSES[0]} for others",
        ]
    ),
    "measures": ", ".join(MEASURES),
    "models": MODEL_HELP,
    "model": by_data(lambda spec: spec.model),
    "eps": by_data(lambda spec: length(spec.budget.eps)),
    "steps": by_data(lambda spec: str(spec.budget.steps)),
    "step_size": by_data(lambda spec: length(spec.budget.step_size)),
    "defenses": ", ".join(defense_names()),
    "weighted": ", ".join(f"{defense.weight:g} for {name}" for name, defense in DEFENSES.items() if defense.weight),
    "fills": " or ".join(FILLS),
    "classifications": " or ".join(CLASSIFICATIONS),
    "attention_losses": " or ".join(f"{name} ({implied_by(name)})" for name in ATTENTION_LOSSES),
    "plan_models": ", ".join(dict.fromkeys(plan.model for plans in all_plans().values() for plan in plans.values())),
}
