"""Names in the registries, read from their source: a wrong one is refused, and a key completes, before torch loads."""

import ast
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from attnlab.attacks import A3, ATTACKS, CLEAN, OTHER_ATTACKS
from attnlab.attention import CLASSES, METHODS
from attnlab.errors import UserError, nearest
from attnlab.training.parse import known_defenses
from attnlab.training.plan import AUGMENTATIONS, OPTIMIZERS, SCHEDULES

MODEL_HELP = "a torchvision name, timm:NAME, FILE.py:FUNCTION, a checkpoint folder, or one of attnlab's own"


@cache
def _source(path: str) -> ast.Module:
    return ast.parse((Path(__file__).parent / path).read_text(encoding="utf-8"))


@cache
def registry(path: str, name: str) -> dict[str, ast.expr]:
    """A dict literal of the package: its keys, and the expression of each value.

    Args:
        path: Of the source, below attnlab/.
        name: Of the dict.
    """
    dict_ = _value_of(path, name)
    if not isinstance(dict_, ast.Dict):
        raise LookupError(f"no dict {name} in {path}")
    return _items(dict_)


def listed(path: str, name: str) -> list[str]:
    """The words of a tuple or the keys of a dict of the package; none where the source has no such name."""
    value = _value_of(path, name)
    if isinstance(value, ast.Dict):
        return list(_items(value))
    return [] if value is None else list(ast.literal_eval(value))


def _value_of(path: str, name: str) -> ast.expr | None:
    """The expression that a name of a module stands for."""
    for node in _source(path).body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return getattr(node, "value", None)
    return None


def _items(dict_: ast.Dict) -> dict[str, ast.expr]:
    pairs = zip(dict_.keys, dict_.values, strict=True)
    return {str(ast.literal_eval(key)): value for key, value in pairs if key is not None}


def splits_of(data: str) -> list[str]:
    """Splits of a data set, as SPLITS beside the function that opens it; none where they are folders of its root."""
    opens = ast.unparse(registry("data/__init__.py", "DATASETS")[data])
    modules = [
        node.module
        for node in _source("data/__init__.py").body
        if isinstance(node, ast.ImportFrom) and node.module and opens in (alias.name for alias in node.names)
    ]
    return listed(f"{modules[0].removeprefix('attnlab.').replace('.', '/')}.py", "SPLITS") if modules else []


def attacks_of_one_step() -> list[str]:
    """Names in ATTACKS of attacks that take one step."""
    return [name for name, attack in ATTACKS.items() if attack.steps == 1]


def iterative_attacks() -> list[str]:
    """Names in ATTACKS of attacks that take several steps, whose number may stand behind the name."""
    return [name for name, attack in ATTACKS.items() if attack.steps > 1]


def known_names(kind: str) -> list[str]:
    """Names of a kind, such as data, models, attacks, methods; those of devices where it is none of them."""
    match kind:
        case "data":
            return list(registry("data/__init__.py", "DATASETS"))
        case "models":
            return list(registry("models/load.py", "BUILT_IN"))
        case "attacks":
            return [name + end for end in ("", A3) for name in ATTACKS]
        case "suites":
            return [CLEAN, *OTHER_ATTACKS]
        case "defenses":
            return known_defenses()
        case "methods":
            return list(METHODS)
        case "geometries":
            return list(registry("data/geometry.py", "GEOMETRIES"))
        case "splits":
            return ["train", "val", "test"]
        case "targets":
            return list(CLASSES)
        case "optimizers":
            return list(OPTIMIZERS)
        case "schedules":
            return list(SCHEDULES)
        case "augmentations":
            return list(AUGMENTATIONS)
        case _:
            return ["auto", "cpu", "cuda"]


def attack_names(single: Iterable[str], iterative: Iterable[str]) -> list[str]:
    """How attacks may be written, for people."""
    return [*single, *(f"{name} (or {name}K, of K steps)" for name in iterative), f"each also with {A3}"]


def expect_attack(
    name: str,
    single: Collection[str] | None = None,
    iterative: Collection[str] | None = None,
    others: Sequence[str] = (),
) -> tuple[str, int | None, bool]:
    """Read an attack's name, such as `pgd20+a3`.

    Args:
        name: As a user writes it.
        single: Attacks of one step; by default those in ATTACKS.
        iterative: Attacks that take their number of steps behind their name; likewise.
        others: Names that would do here too, for the error's text.

    Returns:
        The attack's own name, its number of steps where the name carries one, and whether it climbs the deviation.

    Raises:
        UserError: If a part of the name is unknown; the text lists the names and the nearest.
    """
    single = attacks_of_one_step() if single is None else single
    iterative = iterative_attacks() if iterative is None else iterative
    stem, plus, rest = name.partition("+")
    known, digits = re.fullmatch(r"(.*?)(\d{0,9})", stem, re.DOTALL).groups()  # type: ignore[union-attr]
    fits = (known in iterative and (not digits or int(digits) > 0)) or (known in single and not digits)
    if fits and plus + rest in ("", A3):
        return known, int(digits) if digits else None, bool(plus)
    if name in known_names("suites") and name not in others:
        raise UserError(
            f"expected an attack whose maps can be compared, of {', '.join(attack_names(single, iterative))}, got "
            f"{name!r}; `attnlab evaluate --attacks {name}` measures the accuracy under it"
        )
    listed = "; or ".join(", ".join(names) for names in (attack_names(single, iterative), others) if names)
    number = "".join(re.findall(r"\d{1,9}", name)[:1])
    numbered = (f"{stem}{int(number)}" for stem in iterative if int(number or 0))
    written = {stem + ending for stem in (*single, *iterative, *numbered) for ending in ("", A3)}
    raise UserError(f"expected an attack of {listed}, got {name!r}{nearest(name, {*written, *others} - {name})}")


def expect_model(name: str) -> None:
    """Check a model's name as far as files alone tell: nothing is imported, built or downloaded.

    Raises:
        UserError: If it is no known name and no path; the text proposes the nearest name.
    """
    theirs = torchvision_names()
    known = [*known_names("models"), *theirs]
    if re.fullmatch(r"[\w-]+", name) and theirs and name not in known and not Path(name).exists():
        raise unknown_model(name, known)


def unknown_model(name: str, known: Sequence[str]) -> UserError:
    """The error of a model that is none of those."""
    if name.endswith(".py"):
        hint = f"; did you mean '{name}:FUNCTION', a function there that returns the network?"
    elif Path(name).is_file():
        hint = "; a file of weights is given with --weights, and the network it belongs to with --model"
    else:
        hint = nearest(name, known) or "; `attnlab list models` names them"
    return UserError(f"expected --model to be {MODEL_HELP} ({', '.join(known_names('models'))}), got {name!r}{hint}")


def torchvision_names() -> list[str]:
    """Names of torchvision's classification models, read from its source: importing it takes seconds."""
    found = find_spec("torchvision")
    folder = Path(next(iter(found.submodule_search_locations or ()), "")) / "models" if found else Path()
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))] if found else []
    return [name for text in texts for name in re.findall(r"@register_model\(\)\n(?:@.*\n)*def (\w+)\(", text)]
