"""Names of data sets, models, attacks, defences and methods, written out so that nothing here has to load torch.

The command line completes them, and refuses a wrong one at once. A test holds them equal to the registries.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from attnlab.errors import UserError, expect_one_of, nearest

#: what joins an attack's name to make it climb the attention deviation too, a defence's to rectify and preserve it
A3, AAD = "+a3", "+aad"
SINGLE_STEP = ("fgsm", "stepll")
ITERATIVE = ("iter-stepll", "pgd", "cw")
#: attacks outside the one loop, and the image as it is
SUITES = ("clean", "square", "autoattack")
_DEFENSES = ("none", "madry", "alp", "trades", "mart", "stepll", "ensemble")
NAMES: dict[str, list[str]] = {
    "data": ["scenes", "imagenet", "folder", "mnist", "cifar10"],
    "models": ["resnet8", "lenet", "resnet9"],
    "attacks": [f"{name}{ending}" for ending in ("", A3) for name in (*SINGLE_STEP, *ITERATIVE)],
    "suites": list(SUITES),
    "defenses": [f"{name}{ending}" for ending in ("", AAD) for name in _DEFENSES] + ["aad"],
    "methods": ["grad-cam", "lime"],
    "geometries": ["squash", "crop"],
    "splits": ["train", "val", "test"],
    "devices": ["auto", "cpu", "cuda"],
}
MODEL_HELP = "a torchvision name, timm:NAME, FILE.py:FUNCTION, a checkpoint folder, or one of attnlab's own"


def attack_names(single: Iterable[str] = SINGLE_STEP, iterative: Iterable[str] = ITERATIVE) -> list[str]:
    """How attacks may be written, for people."""
    return [*single, *(f"{name} (or {name}K, of K steps)" for name in iterative), f"each also with {A3}"]


def expect_attack(
    name: str,
    single: Collection[str] = SINGLE_STEP,
    iterative: Collection[str] = ITERATIVE,
    others: Sequence[str] = (),
) -> tuple[str, int | None, bool]:
    """Read an attack's name, such as `pgd20+a3`.

    Args:
        name: As a user writes it.
        single: Attacks of one step.
        iterative: Attacks that take their number of steps behind their name.
        others: Names that would do here too, for the error's text.

    Returns:
        The attack's own name, its number of steps where the name carries one, and whether it climbs the deviation.

    Raises:
        UserError: If a part of the name is unknown; the text lists the names and the nearest.
    """
    stem, plus, rest = name.partition("+")
    known, digits = re.fullmatch(r"(.*?)(\d*)", stem, re.DOTALL).groups()  # type: ignore[union-attr]
    fits = (known in iterative and (not digits or int(digits) > 0)) or (known in single and not digits)
    if fits and plus + rest in ("", A3):
        return known, int(digits) if digits else None, bool(plus)
    if name in SUITES and name not in others:
        raise UserError(
            f"expected an attack whose maps can be compared, of {', '.join(attack_names(single, iterative))}, got "
            f"{name!r}; `attnlab evaluate --attacks {name}` measures the accuracy under it"
        )
    listed = "; or ".join(", ".join(names) for names in (attack_names(single, iterative), others) if names)
    number = "".join(re.findall(r"\d+", name)[:1])
    numbered = (f"{stem}{int(number)}" for stem in iterative if int(number or 0))
    written = {stem + ending for stem in (*single, *iterative, *numbered) for ending in ("", A3)}
    raise UserError(f"expected an attack of {listed}, got {name!r}{nearest(name, {*written, *others} - {name})}")


def expect_defense(name: str) -> None:
    """Check a defence's name.

    Raises:
        UserError: If it is unknown; the text lists the names and the nearest.
    """
    if name not in NAMES["defenses"]:
        raise unknown_defense(name, _DEFENSES, {"aad": f"madry{AAD}"})


def defense_names(stems: Iterable[str], short: Mapping[str, str]) -> list[str]:
    """How defences may be written, for people; `short` holds the names that stand for longer ones."""
    return [*stems, f"each also with {AAD}", *(f"{one} (short for {long})" for one, long in short.items())]


def unknown_defense(name: str, stems: Collection[str], short: Mapping[str, str]) -> UserError:
    """The error of a defence that is none."""
    written = [*(stem + ending for stem in stems for ending in ("", AAD)), *short]
    listed = ", ".join(defense_names(stems, short))
    return UserError(f"expected a defense of {listed}, got {name!r}{nearest(name, written)}")


def expect_model(name: str) -> None:
    """Check a model's name as far as files alone tell: nothing is imported, built or downloaded.

    Raises:
        UserError: If it is no known name and no path; the text proposes the nearest name.
    """
    known = torchvision_names()
    if re.fullmatch(r"[\w-]+", name) and known and name not in {*NAMES["models"], *known} and not Path(name).exists():
        raise unknown_model(name, [*NAMES["models"], *known])


def unknown_model(name: str, known: Sequence[str]) -> UserError:
    """The error of a model that is none of those."""
    if name.endswith(".py"):
        hint = f"; did you mean '{name}:FUNCTION', a function there that returns the network?"
    elif Path(name).is_file():
        hint = "; a file of weights is given with --weights, and the network it belongs to with --model"
    else:
        hint = nearest(name, known) or "; `attnlab list models` names them"
    return UserError(f"expected --model to be {MODEL_HELP} ({', '.join(NAMES['models'])}), got {name!r}{hint}")


def torchvision_names() -> list[str]:
    """Names of torchvision's classification models, read from its source: importing it takes seconds."""
    found = find_spec("torchvision")
    folder = Path(next(iter(found.submodule_search_locations or ()), "")) / "models" if found else Path()
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))] if found else []
    return [name for text in texts for name in re.findall(r"@register_model\(\)\n(?:@.*\n)*def (\w+)\(", text)]


def expect_name(kind: str, value: str, option: str) -> None:
    """Check a value of an option that takes one of the names of a kind.

    Raises:
        UserError: If it is none; the text lists the names and the nearest.
    """
    expect_one_of(value, NAMES[kind], option)
